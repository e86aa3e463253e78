"""Finds the console lines in which a Linux guest says that something went wrong in it."""

from __future__ import annotations

import re

# The kernel's own messages carry the time since boot; a program may print what it likes.
_STAMP = r"\[ *\d+\.\d{6}\]"

#: Said by a kernel that has met a fault of its own, or of the machine below it.
_KERNEL = re.compile(
    _STAMP + r".*(BUG:|Oops|Kernel panic|Call Trace:|general protection fault"
    r"|soft lockup|hard LOCKUP|hung_task|blocked for more than|self-detected stall"
    r"|detected stalls|WARNING: |invalid opcode: |double fault|unchecked MSR access"
    r"|Machine check|irq \d+: nobody cared|unknown reason|list_(add|del) corruption)"
)
#: Said when a program was killed by a fault of its own.
_PROGRAM = re.compile(_STAMP + r".*(segfault at|traps: |trap invalid opcode|Out of memory: Kill)")


def kernel_trouble(console: str) -> list[str]:
    """Return the lines in which the kernel tells of a fault of its own."""
    return [line.strip() for line in console.splitlines() if _KERNEL.search(line)]


def any_trouble(console: str) -> list[str]:
    """Return those, and the lines that tell of a program killed by a fault."""
    return [
        line.strip()
        for line in console.splitlines()
        if _KERNEL.search(line) or _PROGRAM.search(line)
    ]
