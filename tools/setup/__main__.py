"""`python3 -m tools.setup GOAL` prepares this checkout for one goal of the Makefile."""

from __future__ import annotations

import sys

# Before anything that older versions cannot import.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("error: Wardian needs Python 3.11 or later: run make with PYTHON=python3.11")

from tools.errors import ToolError
from tools.setup.goals import GOALS


def main(arguments: list[str]) -> int:
    """Prepare the goal named in `arguments`; return the exit status."""
    match arguments:
        case [name] if name in GOALS:
            try:
                GOALS[name]()
            except ToolError as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            return 0
    print(f"usage: python3 -m tools.setup {'|'.join(GOALS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
