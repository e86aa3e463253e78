"""`wardian run`: boots a machine and connects it to the terminal."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from contextlib import closing, nullcontext
from pathlib import Path

from wardian.base.errors import BugError, CallerError
from wardian.cli.escape import ESCAPE_NAME
from wardian.cli.numbers import describe_stats
from wardian.cli.session import OutputClosed, Session, say
from wardian.cli.signals import EndingSignals
from wardian.cli.terminal import RawTerminal, is_foreground_terminal
from wardian.cpu.choice import checked_engine
from wardian.machine.console import Console, WhenFull
from wardian.machine.exit import ExitReason, MachineExit
from wardian.machine.machine import Machine
from wardian.profile.table import describe_profile

OK, FAILED = 0, 1
#: What a shell reports for a program that wrote to a pipe nobody reads (128 + SIGPIPE).
PIPE_CLOSED = 141


def run(options: Namespace) -> int:
    """Runs the machine that `options` describe; returns the exit status of the command."""
    if not options.kernel:
        raise CallerError("CLI_USAGE", "What is to boot? Name it with --kernel FILE.")
    machine = Machine(
        kernel=options.kernel,
        initrd=options.initrd,
        append=options.append,
        memory=options.memory,
        cpus=_number(options.cpus, "--cpus"),
        engine=checked_engine(options.engine) if options.check else options.engine,
        cpu_model=options.cpu,
        on_reset=options.on_reset,
        debug_exit=options.debug_exit,
        console=Console(when_full=WhenFull.WAIT),
    )
    if options.symbols:
        machine.profiling.use_symbols(Path(options.symbols))
    if options.profile:
        machine.profiling.start(_number(options.profile, "--profile"))
    elif options.profile_live:
        machine.profiling.start()
    return run_machine(
        machine,
        show_stats=options.stats,
        show_profile=options.profile is not None,
        live=options.profile_live,
        perf_map=options.perf_map,
    )


def run_machine(
    machine: Machine,
    *,
    show_stats: bool = False,
    show_profile: bool = False,
    live: bool = False,
    perf_map: bool = False,
) -> int:
    """Starts `machine`, holds its console until it ends, and reports how it ended.

    `live` starts with the view of the hottest blocks; `show_...` print at the end.
    """
    logging.basicConfig(level=logging.WARNING, handlers=[_Log()])
    _open_standard_descriptors()
    terminal = RawTerminal() if is_foreground_terminal(0) else None
    if live and (terminal is None or terminal.screen is None):
        raise CallerError(
            "CLI_USAGE", "--profile-live needs a terminal; --profile prints a table at the end."
        )
    listed = None
    output_closed = False
    with closing(Session(machine, terminal)) as session, EndingSignals(session.interrupt):
        try:
            if perf_map:
                listed = machine.profiling.write_perf_map()
            machine.start()
            with terminal or nullcontext():
                if terminal:
                    keys = f"{ESCAPE_NAME} q quits, {ESCAPE_NAME} ? lists more"
                    say(f"wardian: {machine.description}. {keys}.")
                if live:
                    session.watch()
                session.run()
        except OutputClosed:
            output_closed = True
        finally:
            machine.stop()
    if show_stats:
        say(describe_stats(machine.stats()))
    if show_profile:
        say(describe_profile(machine.profiling.profile()))
    if listed:
        say(f"wardian: {machine.profiling.blocks_listed:,} translated blocks listed in {listed}.")
    if session.signal:
        return 128 + session.signal
    return PIPE_CLOSED if output_closed else report(machine.wait())


def report(exit: MachineExit) -> int:
    """Says what went wrong, if anything did, and returns the exit status for `exit`.

    Errors: `BugError` ENGINE_DIVERGED where the engine found that it is wrong.
    """
    match exit.reason:
        case ExitReason.DEBUG_EXIT:
            assert exit.status is not None
            return exit.status
        case ExitReason.TRIPLE_FAULT:
            say(f"wardian: error[GUEST_TRIPLE_FAULT]: {exit.detail}.")
            return FAILED
        case ExitReason.ENGINE_FAILURE:
            say(f"wardian: error[ENGINE_FAILURE]: {exit.detail}.")
            return FAILED
        case ExitReason.DIVERGED:
            raise BugError("ENGINE_DIVERGED", exit.detail)
        case ExitReason.POWER_OFF | ExitReason.RESET | ExitReason.STOPPED:
            return OK


def _open_standard_descriptors() -> None:
    """Fills descriptors 0 to 2 where the caller closed them, before a file of ours is put there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


class _Log(logging.Handler):
    """Log records beside the guest's output, in a raw terminal or not."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("wardian: %(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        say(self.format(record))


def _number(text: str, option: str) -> int:
    try:
        return int(text, 10)
    except ValueError:
        raise CallerError("CLI_NUMBER", f"{option} takes a whole number, not {text!r}.") from None
