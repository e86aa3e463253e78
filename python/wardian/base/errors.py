"""The one tree of errors: four roots, named by whose fault it is.

Every error carries a stable `code` (upper case, words joined by underscores, never renamed once
released) for programs, and one clear sentence for people: ``raise CallerError("MEM_SIZE", "…")``.
"""

from __future__ import annotations


class WardianError(Exception):
    """The base of everything Wardian raises on purpose. Raise one of its four children.

    `code` is stable and made for programs; `message` is one sentence made for people, and is what
    ``str()`` gives.
    """

    code: str
    message: str

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class CallerError(WardianError):
    """What the user asked for cannot be: a bad option, file or value. The CLI exits with 2."""


class HostError(WardianError):
    """The host lacks something or refused it: memory, a permission, a file, a CPU feature."""


class BugError(WardianError):
    """Wardian contradicted itself. No input of a user or a guest may ever cause one."""


class GuestError(WardianError):
    """The guest did something it cannot go on from, such as a triple fault."""
