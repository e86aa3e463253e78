"""Which engine runs the guest: host facts in, a decision and its reasons out. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from wardian.base.errors import CallerError, HostError
from wardian.cpu.models import MODELS, missing_flags
from wardian.cpu.preflight import HostFacts

#: The word that leaves the choice to Wardian.
AUTO = "auto"

#: The translate engine without its patience: code is translated before its first run, which finds
#: the translator's mistakes. For tests; it is slower.
TRANSLATE_AT_ONCE = "translate-at-once"

#: Behind the name of either: everything translated code does is compared with the interpreter.
CHECKED = "-checked"

#: The engines that go by the translate engine's name in tables and refusals.
_TRANSLATING = tuple(
    name + check for name in ("translate", TRANSLATE_AT_ONCE) for check in ("", CHECKED)
)

#: Every engine Wardian knows by name, fastest first: the order in which `auto` tries them.
ENGINES = ("kvm", "translate", "interpret")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why an engine does not run here, and what would change that."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One row of the engines table; an engine without refusals can run."""

    engine: str
    summary: str
    refusals: tuple[Refusal, ...]

    @property
    def available(self) -> bool:
        """Whether this engine can run a machine on this host now."""
        return not self.refusals


def judge_engines(host: HostFacts) -> tuple[EngineReport, ...]:
    """Every engine with its refusals on `host`, in the order of `ENGINES`."""
    return (
        EngineReport("kvm", "hardware virtualization through /dev/kvm", _kvm_refusals(host)),
        EngineReport("translate", "Wardian's own CPU, no /dev/kvm needed", _software(host)),
        EngineReport("interpret", "the same, one instruction at a time", _software(host)),
    )


def choose_engine(wanted: str, host: HostFacts) -> str:
    """The name of the engine that runs a machine whose user asked for `wanted`.

    Errors: `CallerError` SPEC_ENGINE for a name that does not exist, or the code of the first
    refusal for an engine that was named and cannot run; `HostError` HOST_NO_ENGINE when `auto`
    finds none.
    """
    reports = {report.engine: report for report in judge_engines(host)}
    if wanted == AUTO:
        for report in reports.values():
            if report.available:
                return report.engine
        raise HostError(
            "HOST_NO_ENGINE", "No engine can run on this host; `wardian doctor` says why."
        )
    check_engine_name(wanted)
    refusals = reports["translate" if wanted in _TRANSLATING else wanted].refusals
    if refusals:
        first = refusals[0]
        raise CallerError(first.code, f"The engine {wanted!r} cannot run here: {first.reason}.")
    return wanted


def check_engine_name(name: str) -> None:
    """Raises `CallerError` SPEC_ENGINE unless `name` is an engine or `auto`."""
    names = (AUTO, *ENGINES)
    if name not in names and name not in _TRANSLATING:
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        raise CallerError("SPEC_ENGINE", f"No engine is called {name!r}; there are {listed}.")


def checked_engine(name: str) -> str:
    """The engine that checks itself where its user asked for `name`.

    Errors: `CallerError` SPEC_ENGINE for a name that does not exist or an engine that has nothing
    to compare itself with.
    """
    check_engine_name(name)
    if name == AUTO:
        return "translate" + CHECKED
    if name not in _TRANSLATING:
        raise CallerError("SPEC_ENGINE", f"Only the translate engine can be checked, not {name!r}.")
    return name.removesuffix(CHECKED) + CHECKED


def explain_choice(reports: tuple[EngineReport, ...]) -> tuple[str | None, str]:
    """What `auto` takes (None: nothing) and one sentence that says why."""
    refused: list[str] = []
    for report in reports:
        if report.available:
            because = f"; {', '.join(refused)}" if refused else ""
            return report.engine, f"the fastest engine that can run here{because}"
        codes = ", ".join(refusal.code for refusal in report.refusals)
        refused.append(f"{report.engine} is refused ({codes})")
    return None, f"no engine can run on this host; {'; '.join(refused)}"


def _kvm_refusals(host: HostFacts) -> tuple[Refusal, ...]:
    refusals = []
    if host.machine != "x86_64":
        refusals.append(_not_x86_64(host))
    device = _kvm_device(host)
    if device:
        refusals.append(device)
    elif host.kvm.pvm_module or not host.hardware_virtualization:
        # A working /dev/kvm without vmx or svm in the CPU flags is not hardware: it is kvm_pvm
        # or a like module, which emulates the kernel mode of unmodified guests far more slowly
        # than Wardian's own engine does.
        refusals.append(
            Refusal(
                "KVM_IS_PVM",
                "/dev/kvm here is kvm_pvm, software that emulates ring 0 of an unmodified kernel "
                "very slowly and not completely",
                "nothing to do: auto uses Wardian's own engine instead",
            )
        )
    refusals.append(
        Refusal(
            "KVM_NOT_BUILT",
            "this version of Wardian has no kvm engine yet",
            "use --engine auto or --engine translate",
        )
    )
    return tuple(refusals)


def _kvm_device(host: HostFacts) -> Refusal | None:
    match host.kvm.open_error:
        case "" if host.kvm.api_version == 12:
            return None
        case "":
            return Refusal(
                "KVM_NOT_KVM",
                f"/dev/kvm opens but answers API version {host.kvm.api_version}, not 12",
                "check what put /dev/kvm there; the kernel's own device is 10:232",
            )
        case "ENOENT":
            hint = (
                "load kvm_intel or kvm_amd"
                if host.hardware_virtualization
                else "enable (nested) virtualization for this host; its CPU shows neither vmx "
                "nor svm"
            )
            return Refusal("KVM_NO_DEVICE", "there is no /dev/kvm", hint)
        case "EACCES" | "EPERM":
            return Refusal(
                "KVM_NO_PERMISSION",
                "/dev/kvm is there but this user may not open it",
                "add the user to the group that owns /dev/kvm (often `kvm`), then log in again",
            )
        case other:
            return Refusal(
                "KVM_NO_DEVICE",
                f"/dev/kvm cannot be opened ({other})",
                "check that the kvm module is loaded and that /dev/kvm is the character device "
                "10:232",
            )


def _software(host: HostFacts) -> tuple[Refusal, ...]:
    if host.machine != "x86_64":
        return (_not_x86_64(host),)
    refusals = []
    least = MODELS[-1]
    missing = missing_flags(least, host.cpu_flags)
    if missing:
        # Both engines execute the guest's SSE instructions on the host CPU.
        refusals.append(
            Refusal(
                "CPU_TOO_OLD",
                f"the host CPU lacks {', '.join(missing)}",
                f"use a host whose CPU has the {least} feature level",
            )
        )
    if host.core.version is None:
        refusals.append(
            Refusal(
                "CORE_MISSING",
                f"the compiled core cannot be loaded ({host.core.error})",
                "in a clone run `make build`; otherwise reinstall the wardian package",
            )
        )
    return tuple(refusals)


def _not_x86_64(host: HostFacts) -> Refusal:
    return Refusal(
        "HOST_NOT_X86_64",
        f"the host is {host.machine}, and this engine runs on x86_64 only",
        "use an x86-64 host",
    )
