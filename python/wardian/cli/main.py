"""The entry point: finds the command, and turns every error into one sentence and a status."""

from __future__ import annotations

import os
import sys

import wardian
from wardian.base.errors import CallerError, WardianError
from wardian.cli.parser import OVERVIEW, doctor_parser, run_parser, suggestion

OK, FAILED, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141
_COMMANDS = ("run", "doctor")


def main(arguments: list[str] | None = None) -> int:
    """Runs `wardian` with `arguments` (None: those of the process); returns the exit status."""
    try:
        try:
            return _dispatch(sys.argv[1:] if arguments is None else arguments)
        finally:
            # What is still buffered fails here, where it is dealt with, not on Python's way out.
            if sys.stdout:  # None where descriptor 1 was closed.
                sys.stdout.flush()
    except WardianError as error:
        if sys.stderr:  # None would make `print` take the standard output instead.
            print(f"wardian: error[{error.code}]: {error.message}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, CallerError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # The output cannot be written; Python would try again on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return PIPE_CLOSED
        print(f"wardian: error[HOST_OUTPUT]: {error.strerror or error}.", file=sys.stderr)
        return FAILED


def _dispatch(arguments: list[str]) -> int:
    command, *rest = arguments or ["--help"]
    match command:
        case "run":
            # Local imports: a command loads what it needs and starts the faster for it.
            from wardian.cli.run import run

            return run(run_parser().parse(rest))
        case "doctor":
            from wardian.cli.doctor import doctor

            return doctor(doctor_parser().parse(rest))
        case "--help" | "-h" | "help":
            print(OVERVIEW, end="")
            return OK
        case "--version" | "-V":
            print(f"wardian {wardian.__version__}")
            return OK
    hint = suggestion(command, [*_COMMANDS, "--help", "--version"])
    raise CallerError("CLI_USAGE", f"wardian has no command {command!r}{hint}.")
