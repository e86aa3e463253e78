"""A host made of facts, on which every engine of this version can run."""

from __future__ import annotations

from wardian.base.units import GIB
from wardian.cpu.features import FEATURES
from wardian.cpu.preflight import CoreFacts, HostFacts, KvmFacts

_ALL_FLAGS = frozenset({feature.host for feature in FEATURES if feature.host} | {"svm"})
_KVM = KvmFacts(open_error="", api_version=12, pvm_module=False)
_CORE = CoreFacts("0.0.0")


def fake_host(
    *,
    machine: str = "x86_64",
    cpu_flags: frozenset[str] = _ALL_FLAGS,
    memory_available: int = 16 * GIB,
    kvm: KvmFacts = _KVM,
    core: CoreFacts = _CORE,
) -> HostFacts:
    """The facts of a capable host, but for what is named."""
    return HostFacts(
        machine=machine,
        kernel="6.1.0",
        cpu_vendor="AuthenticAMD",
        cpu_name="A CPU of this test",
        cpu_flags=cpu_flags,
        cpus=2,
        memory_total=32 * GIB,
        memory_available=memory_available,
        kvm=kvm,
        core=core,
    )
