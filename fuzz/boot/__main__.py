"""Fuzz the boot loaders: ``python -m fuzz.boot --count 100000 --seed 1``."""

from __future__ import annotations

import argparse
import random

from fuzz.boot.mutate import run


def main() -> None:
    """Run the cases that the command line asks for; print seed, number and outcomes."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.boot", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="cases to run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    result = run(arguments.seed, arguments.count)
    for outcome, number in result.outcomes.most_common():
        print(f"{number:10}  {outcome}")
    print(f"{result.cases} cases, seed {result.seed}: only errors of the caller, no bad plan")


if __name__ == "__main__":
    main()
