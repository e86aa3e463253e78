"""Wardian: boot and hold whole x86-64 machines, without hardware virtualization.

    import wardian

    with wardian.Machine(kernel="vmlinuz", initrd="initrd.img", memory="512M", cpus=2) as machine:
        for text in machine.console:
            print(text, end="")
        print(machine.wait())

The public names are those of `__all__`; each is loaded when it is first used.
"""

from __future__ import annotations

# Type checkers take this name to be true; importing it from `typing` would cost more than all else.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from wardian.base.errors import BugError, CallerError, GuestError, HostError, WardianError
    from wardian.machine.console import Console, ConsoleClosed, ConsoleTimeout, WhenFull
    from wardian.machine.exit import ExitReason, MachineExit, MachineTimeout
    from wardian.machine.machine import Machine
    from wardian.machine.spec import MachineSpec, OnReset
    from wardian.machine.stats import MachineStats

    __version__: str

__all__ = [
    "BugError",
    "CallerError",
    "Console",
    "ConsoleClosed",
    "ConsoleTimeout",
    "ExitReason",
    "GuestError",
    "HostError",
    "Machine",
    "MachineExit",
    "MachineSpec",
    "MachineStats",
    "MachineTimeout",
    "OnReset",
    "WardianError",
    "WhenFull",
    "__version__",
]

_HOMES = {
    "base.errors": ("BugError", "CallerError", "GuestError", "HostError", "WardianError"),
    "machine.console": ("Console", "ConsoleClosed", "ConsoleTimeout", "WhenFull"),
    "machine.exit": ("ExitReason", "MachineExit", "MachineTimeout"),
    "machine.machine": ("Machine",),
    "machine.spec": ("MachineSpec", "OnReset"),
    "machine.stats": ("MachineStats",),
}


if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "__version__":
            value = _version()
        else:
            home = next((home for home, names in _HOMES.items() if name in names), None)
            if home is None:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
            from importlib import import_module

            value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The installed version; `unknown` in a tree that was never installed."""
    from importlib import metadata

    try:
        return metadata.version("wardian")
    except metadata.PackageNotFoundError:
        return "unknown"
