"""Which engine runs, and the typed reason for each that does not."""

from __future__ import annotations

import pytest

from wardian.base.errors import CallerError, HostError
from wardian.cpu.choice import checked_engine, choose_engine, explain_choice, judge_engines
from wardian.cpu.preflight import CoreFacts, HostFacts, KvmFacts
from wardian.testing import fake_host


def codes(host: HostFacts, engine: str) -> list[str]:
    """The codes of the refusals of `engine`."""
    report = next(r for r in judge_engines(host) if r.engine == engine)
    assert report.available == (not report.refusals)
    assert all(r.reason and r.remedy for r in report.refusals)
    return [r.code for r in report.refusals]


def test_kvm_works_but_is_not_built_yet() -> None:
    assert codes(fake_host(), "kvm") == ["KVM_NOT_BUILT"]


@pytest.mark.parametrize(
    ("kvm", "code"),
    [
        (KvmFacts("ENOENT", None, False), "KVM_NO_DEVICE"),
        (KvmFacts("ENODEV", None, False), "KVM_NO_DEVICE"),
        (KvmFacts("ENXIO", None, False), "KVM_NO_DEVICE"),
        (KvmFacts("EACCES", None, False), "KVM_NO_PERMISSION"),
        (KvmFacts("EPERM", None, False), "KVM_NO_PERMISSION"),
        (KvmFacts("", 11, False), "KVM_NOT_KVM"),
        (KvmFacts("", None, False), "KVM_NOT_KVM"),
        (KvmFacts("", 12, True), "KVM_IS_PVM"),
    ],
)
def test_every_state_of_the_device_has_its_reason(kvm: KvmFacts, code: str) -> None:
    assert codes(fake_host(kvm=kvm), "kvm") == [code, "KVM_NOT_BUILT"]


def test_kvm_without_vmx_or_svm_is_not_hardware() -> None:
    plain = fake_host().cpu_flags - {"svm", "vmx"}
    assert codes(fake_host(cpu_flags=plain), "kvm") == ["KVM_IS_PVM", "KVM_NOT_BUILT"]


@pytest.mark.parametrize("engine", ["translate", "interpret"])
def test_our_own_engines_need_the_core_and_an_x86_host_of_some_age(engine: str) -> None:
    assert codes(fake_host(), engine) == []
    assert codes(fake_host(core=CoreFacts(None, "gone")), engine) == ["CORE_MISSING"]
    assert codes(fake_host(cpu_flags=frozenset({"sse2"})), engine) == ["CPU_TOO_OLD"]
    arm = fake_host(machine="aarch64")
    assert codes(arm, engine) == ["HOST_NOT_X86_64"]
    assert codes(arm, "kvm")[0] == "HOST_NOT_X86_64"


def test_auto_takes_the_first_that_runs_and_says_why() -> None:
    host = fake_host()
    assert choose_engine("auto", host) == "translate"
    engine, why = explain_choice(judge_engines(host))
    assert engine == "translate"
    assert "KVM_NOT_BUILT" in why


def test_auto_without_any_engine_is_the_hosts_fault() -> None:
    host = fake_host(core=CoreFacts(None, "gone"))
    with pytest.raises(HostError) as caught:
        choose_engine("auto", host)
    assert caught.value.code == "HOST_NO_ENGINE"
    assert explain_choice(judge_engines(host))[0] is None


def test_the_engine_that_checks_itself() -> None:
    assert checked_engine("auto") == "translate-checked"
    assert checked_engine("translate-at-once") == "translate-at-once-checked"
    assert checked_engine("translate-checked") == "translate-checked"
    for other in ("interpret", "kvm", "qemu"):
        with pytest.raises(CallerError) as caught:
            checked_engine(other)
        assert caught.value.code == "SPEC_ENGINE"


def test_naming_an_engine() -> None:
    for engine in ("interpret", "translate", "translate-at-once", "translate-checked"):
        assert choose_engine(engine, fake_host()) == engine
    with pytest.raises(CallerError) as refused:
        choose_engine("kvm", fake_host(kvm=KvmFacts("EACCES", None, False)))
    assert refused.value.code == "KVM_NO_PERMISSION"
    with pytest.raises(CallerError) as unknown:
        choose_engine("warp", fake_host())
    assert unknown.value.code == "SPEC_ENGINE"
    assert "auto, kvm, translate and interpret" in str(unknown.value)
