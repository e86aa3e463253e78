"""Run random code: ``python -m fuzz.streams --count 1000 --states 100000 --seed 1``."""

from __future__ import annotations

import argparse
import random
from collections import Counter

from fuzz.streams import states
from fuzz.streams.run import CHUNKS, outcomes


def main() -> None:
    """Run what the command line asks for; print each seed and the outcomes."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.streams", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="streams to run, one machine each")
    parser.add_argument("--states", type=int, default=10_000, help="cases of random vCPU states")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    for outcome, number in states.run(arguments.seed, arguments.states).most_common():
        print(f"{number:10}  {outcome}")
    total: Counter[str] = Counter()
    for seed, outcome in outcomes(range(arguments.seed, arguments.seed + arguments.count)):
        total[outcome] += 1
        print(f"seed {seed}: {outcome}", flush=True)
    for outcome, number in total.most_common():
        print(f"{number:10}  {outcome}")
    print(f"{total.total()} streams of {CHUNKS} chunks: the monitor ended each in good order")


if __name__ == "__main__":
    main()
