"""Named CPU models: what a guest's CPUID says is fixed when its machine is created.

A model's name says all of it, so that a machine keeps its CPU on another host: ``x86-64-v2`` or
``x86-64-v3``, each with extras behind plus signs in alphabetical order, as in ``x86-64-v3+sha``.
``auto`` stands for the best model the host can run, and is resolved before a machine is made.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from wardian.base.errors import CallerError
from wardian.cpu.contract import CpuidEntry
from wardian.cpu.features import FEATURES, Feature, Tier
from wardian.cpu.leaves import build
from wardian.cpu.msrs import power_on_msrs

AUTO: Final = "auto"
DEFAULT_MODEL: Final = AUTO

#: Every model's base name, best first: the order in which `auto` tries them.
MODELS: Final = ("x86-64-v3", "x86-64-v2")

#: What can be added to a base name.
EXTRAS: Final = tuple(sorted(f.name for f in FEATURES if f.tier is Tier.EXTRA))


def check_model(name: str) -> None:
    """Raise `CallerError` CPU_MODEL_UNKNOWN unless `name` is a model or `auto`."""
    if name != AUTO:
        model_features(name)


def model_features(name: str) -> tuple[Feature, ...]:
    """The features of the model `name`, in the table's order.

    Raises `CallerError` CPU_MODEL_UNKNOWN for a name that is no model, `auto` included.
    """
    base, *extras = name.split("+")
    if base not in MODELS or not set(extras) <= set(EXTRAS) or extras != sorted(set(extras)):
        raise CallerError(
            "CPU_MODEL_UNKNOWN",
            f"No CPU model is called {name[:60]!r}; there are {AUTO}, {' and '.join(MODELS)}, "
            f"which may be followed by +{', +'.join(EXTRAS)} in this order.",
        )
    tiers = (Tier.V2,) if base == "x86-64-v2" else (Tier.V2, Tier.V3)
    return tuple(f for f in FEATURES if f.tier in tiers or f.name in extras)


def missing_flags(name: str, host_flags: AbstractSet[str]) -> tuple[str, ...]:
    """The host CPU flags that the model needs and the host has not, sorted.

    `host_flags` are spelled as in the "flags" line of /proc/cpuinfo. Raises what `model_features`
    raises.
    """
    return tuple(sorted({f.host for f in model_features(name) if f.host} - host_flags))


def default_model(host_flags: AbstractSet[str]) -> str:
    """The best model, with every extra, that a host with `host_flags` can run.

    Raises `CallerError` CPU_MODEL_UNSUPPORTED where not even x86-64-v2 runs.
    """
    for base in MODELS:
        if not missing_flags(base, host_flags):
            extras = (e for e in EXTRAS if not missing_flags(f"{base}+{e}", host_flags))
            return "+".join((base, *extras))
    raise _unsupported(MODELS[-1], missing_flags(MODELS[-1], host_flags))


def resolve_model(name: str, host_flags: AbstractSet[str]) -> str:
    """The model that a machine whose user asked for `name` gets on a host with `host_flags`.

    Raises `CallerError`: CPU_MODEL_UNKNOWN, or CPU_MODEL_UNSUPPORTED where the host lacks flags.
    """
    if name == AUTO:
        return default_model(host_flags)
    missing = missing_flags(name, host_flags)
    if missing:
        raise _unsupported(name, missing)
    return name


def cpuid_entries(model: str, cpus: int, tsc_hz: int) -> list[CpuidEntry]:
    """What CPUID answers in a machine of `cpus` CPUs (one core each) whose TSC runs at `tsc_hz`.

    Rows as `Vm.set_cpuid` takes them; a leaf without a row is all zeros. The engine fills in
    what differs between CPUs or changes as they run: APIC IDs (leaf 1 EBX, leaf 0xB EDX), OSXSAVE,
    and the size of the enabled XSAVE state (leaf 0xD EBX). Raises what `model_features` raises.
    """
    return build(model, model_features(model), cpus, tsc_hz)


def msr_defaults(model: str) -> dict[int, int]:
    """The MSRs whose power-on values belong to the model, for every vCPU's `set_state`."""
    return power_on_msrs(model_features(model))


def _unsupported(model: str, missing: tuple[str, ...]) -> CallerError:
    return CallerError(
        "CPU_MODEL_UNSUPPORTED",
        f"This host cannot run the CPU model {model}: its CPU lacks {', '.join(missing)}.",
    )
