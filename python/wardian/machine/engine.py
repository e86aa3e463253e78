"""Where a machine gets its virtual machine from: the compiled core, loaded when first needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wardian.base.errors import BugError, HostError
from wardian.cpu.contract import Vm

#: Makes a virtual machine: (engine name, number of vCPUs).
CreateVm = Callable[[str, int], Vm]

_CORE = "wardian._core"

#: Codes with which the core says that the host refused it something (crates/engine/contract.rs).
_HOST_CODES = frozenset({"MEM_HOST", "ENGINE_HOST"})


def core_vm(engine: str, cpus: int) -> Vm:
    """A virtual machine of the compiled core."""
    vm: Vm = importlib.import_module(_CORE).Vm(engine, cpus)
    return vm


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turns the core's `EngineError` into this project's tree.

    A machine's parts are checked before they reach the engine, so what it still refuses is the
    host's fault or a bug.
    """
    try:
        yield
    except Exception as error:
        core = sys.modules.get(_CORE)
        if core is None or not isinstance(error, core.EngineError):
            raise
        code, message = error.args
        root = HostError if code in _HOST_CODES else BugError
        raise root(code, f"{message}.") from error
