"""The files a machine boots from, read with every check a user's typing needs."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from wardian.base.errors import CallerError
from wardian.base.units import GIB, format_size
from wardian.machine.spec import MachineSpec

#: A kernel file may hold more than is loaded (symbols), so memory does not bound it; this does.
MAX_KERNEL = 2 * GIB


@dataclass(frozen=True, slots=True)
class Media:
    """The contents of the files that a spec names."""

    kernel: bytes
    initrd: bytes | None


def read_media(spec: MachineSpec) -> Media:
    """Reads what `spec` boots from.

    Errors: `CallerError` SPEC_FILE_MISSING, SPEC_FILE_KIND (a directory, a device),
    SPEC_FILE_UNREADABLE or SPEC_FILE_SIZE.
    """
    kernel = read_file(spec.kernel, "kernel", MAX_KERNEL)
    if spec.initrd is None:
        return Media(kernel, None)
    return Media(kernel, read_file(spec.initrd, "initrd", spec.memory_bytes))


def read_file(path: Path, role: str, limit: int) -> bytes:
    """Reads a file of `limit` bytes at most; `role` says in messages what it is.

    Errors: those of `read_media`.
    """
    shown = str(path)
    name = f"The {role} {shown if len(shown) <= 200 else '...' + shown[-200:]!r}"
    try:
        # O_NONBLOCK: without it opening a FIFO that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise CallerError("SPEC_FILE_MISSING", f"{name} does not exist.") from None
    except OSError as error:
        why = error.strerror or "unknown error"
        raise CallerError("SPEC_FILE_UNREADABLE", f"{name} cannot be opened: {why}.") from None
    except ValueError:
        raise CallerError("SPEC_FILE_UNREADABLE", f"{name} is no file name.") from None
    try:
        _check(os.fstat(descriptor), name, limit)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        why = error.strerror or "unknown error"
        raise CallerError("SPEC_FILE_UNREADABLE", f"{name} cannot be read: {why}.") from None
    finally:
        os.close(descriptor)


def _check(status: os.stat_result, name: str, limit: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise CallerError("SPEC_FILE_KIND", f"{name} is a directory.")
    if not stat.S_ISREG(status.st_mode):
        raise CallerError("SPEC_FILE_KIND", f"{name} is not a regular file.")
    if status.st_size > limit:
        raise CallerError(
            "SPEC_FILE_SIZE",
            f"{name} has {format_size(status.st_size)}, "
            f"and this machine takes at most {format_size(limit)}.",
        )
