"""What must hold before anything is built: the engine can run, the memory is there, files read.

Nothing is created here, so a refusal leaves nothing behind.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardian.base.errors import CallerError
from wardian.base.units import MIB
from wardian.cpu.choice import choose_engine
from wardian.cpu.models import resolve_model
from wardian.cpu.preflight import HostFacts
from wardian.machine.media import Media, read_media
from wardian.machine.spec import MachineSpec


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a spec means on this host now."""

    engine: str
    cpu_model: str
    media: Media


def prepare(spec: MachineSpec, host: HostFacts) -> Preparation:
    """Checks `spec` against `host` and reads its files.

    Errors: those of `choose_engine`, `resolve_model` and `read_media`, and `CallerError`
    SPEC_MEMORY_HOST.
    """
    engine = choose_engine(spec.engine, host)
    cpu_model = resolve_model(spec.cpu_model, host.cpu_flags)
    if spec.memory_bytes > host.memory_available:
        raise CallerError(
            "SPEC_MEMORY_HOST",
            f"The machine is to have {spec.memory_bytes // MIB} MiB of memory, "
            f"and this host has {host.memory_available // MIB} MiB left.",
        )
    return Preparation(engine, cpu_model, read_media(spec))
