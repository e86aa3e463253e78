"""The report of `wardian doctor`, for people and for programs."""

from __future__ import annotations

import json

import pytest

from wardian.cli import doctor
from wardian.cli.main import main
from wardian.cpu.choice import judge_engines
from wardian.cpu.preflight import CoreFacts, HostFacts, KvmFacts
from wardian.testing import fake_host

PVM = fake_host(kvm=KvmFacts("", 12, True))
BROKEN = fake_host(core=CoreFacts(None, "No module named 'wardian._core'"))


def show(host: HostFacts) -> str:
    """The text about `host`."""
    return doctor.as_text(host, judge_engines(host))


def test_text_says_what_runs_what_not_and_why() -> None:
    text = show(PVM)
    assert "A CPU of this test" in text
    assert "KVM_IS_PVM" in text
    assert "KVM_NOT_BUILT" in text
    assert "Remedy:" in text
    assert "--engine auto takes translate" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_text_on_a_host_where_nothing_runs() -> None:
    text = show(BROKEN)
    assert "CORE_MISSING" in text
    assert "--engine auto takes nothing" in text


def test_data_for_programs() -> None:
    data = json.loads(json.dumps(doctor.as_data(PVM, judge_engines(PVM))))
    assert data["auto"]["engine"] == "translate"
    kvm, *ours = data["engines"]
    assert kvm["engine"] == "kvm"
    assert not kvm["available"]
    assert [r["code"] for r in kvm["refusals"]] == ["KVM_IS_PVM", "KVM_NOT_BUILT"]
    assert ours == [
        {"engine": name, "available": True, "refusals": []} for name in ("translate", "interpret")
    ]
    assert data["host"]["kvm"]["pvm_module"]
    assert data["host"]["memory_total"] == 32 << 30


@pytest.mark.parametrize(("host", "status"), [(PVM, 0), (BROKEN, 1)])
@pytest.mark.parametrize("form", ["text", "json"])
def test_the_status_says_whether_a_machine_can_run(
    host: HostFacts,
    status: int,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(doctor, "gather_host", lambda: host)
    assert main(["doctor", "--format", form]) == status
    assert "interpret" in capsys.readouterr().out
