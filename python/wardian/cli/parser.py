"""The command line: what may be typed, the help for it, and help for what was mistyped.

argparse, measured against typer and rich: a command starts in a sixth of the time, with less
memory and no dependency.
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from wardian.base.errors import CallerError
from wardian.base.units import MIB
from wardian.cli.escape import ESCAPE_NAME
from wardian.cpu.choice import AUTO, ENGINES
from wardian.cpu.contract import MAX_VCPUS
from wardian.cpu.models import DEFAULT_MODEL, MODELS
from wardian.machine.spec import DEFAULT_APPEND, DEFAULT_MEMORY, OnReset
from wardian.profile.profile import DEFAULT_HZ

OVERVIEW = """\
wardian: whole x86-64 machines, without hardware virtualization

Usage:
  wardian run --kernel FILE [...]   boot a machine; its console is this terminal
  wardian doctor                    what this host offers, and which engine runs here
  wardian --version
  wardian COMMAND --help

Example:
  wardian run --kernel vmlinuz --initrd initrd.img --memory 1G --cpus 2
"""

_RUN_EPILOG = f"""\
console:
  With a terminal, every key goes to the guest but {ESCAPE_NAME}: it opens a menu (q quits,
  p presses the power button, s shows statistics, t watches where the guest spends its time,
  w types the window size into the guest's shell, ? lists all). Guest programs that ask the
  terminal for its size, as `resize` does, get the true answer. With pipes, input and output pass
  unchanged, and the end of the input is not the end of the machine.

exit status:
  0    the guest switched the machine off, or reset it under --on-reset exit, or you quit
  1    the guest failed (a triple fault), or the machine did
  2    what was asked for cannot be; one line says why
  130  Ctrl-C; likewise 143 for SIGTERM and 129 for SIGHUP
  141  nobody reads the output any more
  With --debug-exit, a guest that writes V to port 0xF4 ends with 2 V + 1, as under QEMU.
"""


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as `CallerError` CLI_USAGE instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        """Raises; argparse's own messages start in lower case and have no full stop."""
        raise CallerError("CLI_USAGE", f"{message[:1].upper()}{message[1:]}.")

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """As `parse_args`, with a suggestion for the first option that does not exist."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            name = unknown[0].split("=", 1)[0]
            hint = suggestion(name, [*self._option_string_actions])
            raise CallerError("CLI_USAGE", f"{self.prog} has no {unknown[0]!r}{hint}.")
        return options


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=96)


def run_parser() -> _Parser:
    """The options of `wardian run`."""
    parser = _Parser(
        prog="wardian run",
        usage="wardian run --kernel FILE [options]",
        description="Boot a machine and connect its serial console to this terminal.",
        epilog=_RUN_EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    boot = parser.add_argument_group("what boots")
    boot.add_argument(
        "--kernel",
        metavar="FILE",
        help="a Linux bzImage, an ELF file with a PVH entry, or a Multiboot-1 kernel",
    )
    boot.add_argument("--initrd", metavar="FILE", help="an initial RAM disk or Multiboot module")
    boot.add_argument(
        "--append",
        metavar="TEXT",
        default=DEFAULT_APPEND,
        help="the kernel's whole command line (default: %(default)s)",
    )
    machine = parser.add_argument_group("the machine")
    machine.add_argument(
        "--memory",
        metavar="SIZE",
        default=f"{DEFAULT_MEMORY // MIB}M",
        help="like 512M or 2G (default: %(default)s)",
    )
    machine.add_argument(
        "--cpus", metavar="N", default="1", help=f"1 to {MAX_VCPUS} (default: %(default)s)"
    )
    machine.add_argument(
        "--engine",
        metavar="NAME",
        default=AUTO,
        help=f"{AUTO}, {' or '.join(ENGINES)}; `wardian doctor` lists them (default: %(default)s)",
    )
    machine.add_argument(
        "--cpu",
        metavar="MODEL",
        default=DEFAULT_MODEL,
        help=f"{', '.join(MODELS)}, or the best that runs here (default: %(default)s)",
    )
    end = parser.add_argument_group("how it ends")
    end.add_argument(
        "--on-reset",
        metavar="ACTION",
        default=OnReset.REBOOT.value,
        help="what a reset by the guest does: reboot or exit (default: %(default)s)",
    )
    end.add_argument(
        "--debug-exit",
        action="store_true",
        help="give the machine a port, 0xF4, by which the guest ends it with a status",
    )
    look = parser.add_argument_group("what it does meanwhile")
    look.add_argument("--stats", action="store_true", help="print statistics at the end")
    look.add_argument(
        "--profile",
        metavar="HZ",
        nargs="?",
        const=str(DEFAULT_HZ),
        help=f"sample where the guest is, HZ times a second (default: {DEFAULT_HZ}), and "
        "print the hottest blocks of its code at the end",
    )
    look.add_argument(
        "--profile-live",
        action="store_true",
        help=f"start with the view of the hottest blocks, as {ESCAPE_NAME} t shows it",
    )
    look.add_argument(
        "--symbols",
        metavar="FILE",
        help="the kernel's symbols: System.map, a copy of /proc/kallsyms or vmlinux (default: the "
        "table in the guest kernel's own memory)",
    )
    look.add_argument(
        "--perf-map",
        action="store_true",
        help="list translated blocks in /tmp/perf-PID.map, where Linux's perf looks for names",
    )
    look.add_argument(
        "--check",
        action="store_true",
        help="compare everything translated code does with the interpreter, and end with a report "
        "at the first instruction that differs; much slower",
    )
    look.add_argument("-h", "--help", action="help", help="show this")
    return parser


def doctor_parser() -> _Parser:
    """The options of `wardian doctor`."""
    parser = _Parser(
        prog="wardian doctor",
        usage="wardian doctor [--format text|json]",
        description="Say what this host offers, which engines run on it, why others do not, and\n"
        "what to do about it. The exit status is 0 if a machine can run here, else 1.",
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    options = parser.add_argument_group("options")
    options.add_argument(
        "--format",
        metavar="NAME",
        choices=["text", "json"],
        default="text",
        help="text or json (default: %(default)s)",
    )
    options.add_argument("-h", "--help", action="help", help="show this")
    return parser


def suggestion(typed: str, known: list[str]) -> str:
    """` (did you mean 'x'?)`, to be put behind what was typed, or "" when nothing is close."""
    # Local, because only a mistake needs it.
    from difflib import get_close_matches

    close = get_close_matches(typed, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
