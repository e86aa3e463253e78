"""Plant one fault after another in a copy of the translator: ``python -m fuzz.planted``.

Each must be caught by something in the suite. Exit status 0: all were; 1: a fault survived, or the
suite already objects to the unchanged translator; 2: wrong usage, or a fault cannot be planted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzz.planted.fault import CannotPlant, Fault, read_faults
from fuzz.planted.suite import Suite
from fuzz.planted.workshop import DoesNotBuild, Workshop

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Plant what the command line asks for; a line for each fault, then a count."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.planted", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults (default: all)")
    parser.add_argument("--list", action="store_true", help="say which faults there are, and end")
    parser.add_argument("--check", action="store_true", help="only see whether all can be planted")
    parser.add_argument("--scratch", type=Path, default=ROOT / "target" / "planted-translator")
    arguments = parser.parse_args()
    try:
        faults = chosen(arguments.names)
        if arguments.list:
            for fault in faults:
                print(f"{fault.name}: {fault.wrong}")
            return 0
        check_all(faults)
        if arguments.check:
            print(f"planted: {len(faults)} faults fit the sources")
            return 0
        return 0 if all_caught(faults, Workshop.copy_of(ROOT, arguments.scratch)) else 1
    except (CannotPlant, DoesNotBuild) as error:
        print(f"planted: {error}", file=sys.stderr)
        return 2


def chosen(names: list[str]) -> list[Fault]:
    """The faults of these names, or all."""
    faults = read_faults()
    unknown = set(names) - {fault.name for fault in faults}
    if unknown:
        raise CannotPlant(f"no such fault: {', '.join(sorted(unknown))}; --list names them")
    return [fault for fault in faults if not names or fault.name in names]


def check_all(faults: list[Fault]) -> None:
    """Raise `CannotPlant` with every fault that does not fit the sources."""
    misfits = []
    for fault in faults:
        try:
            fault.check(ROOT)
        except CannotPlant as error:
            misfits.append(str(error))
    if misfits:
        raise CannotPlant("\n".join(misfits))


def all_caught(faults: list[Fault], workshop: Workshop) -> bool:
    """Plant the faults one by one and say what came of each; whether all were caught."""
    suite = Suite(workshop)
    objection = suite.first_objection(())
    if objection is not None:
        print(f"planted: {objection} objects to the unchanged translator already", file=sys.stderr)
        return False
    missed = []
    for fault in faults:
        start = time.monotonic()
        with fault.planted(workshop.source):
            objection = suite.first_objection(fault.first)
        seconds = time.monotonic() - start
        print(f"{fault.name}: {objection or 'MISSED'} ({seconds:.0f} s)", flush=True)
        if objection is None:
            missed.append(fault)
    for fault in missed:
        print(f"planted: nothing caught {fault.name}: {fault.wrong}", file=sys.stderr)
    print(f"planted: {len(faults) - len(missed)} of {len(faults)} faults caught")
    return not missed


if __name__ == "__main__":
    sys.exit(main())
