"""Fuzz the port and memory bus of a board: ``python -m fuzz.bus --count 1000 --seed 1``."""

from __future__ import annotations

import argparse
import random

from fuzz.bus.run import run


def main() -> None:
    """Run the cases that the command line asks for; print the seed first and the routes last."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.bus", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="cases to run, one board each")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    print(run(arguments.seed, arguments.count))


if __name__ == "__main__":
    main()
