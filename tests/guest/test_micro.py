"""Every micro-guest under Wardian's interpreter and, where it is installed, under QEMU TCG.

QEMU is the second opinion on the assertions: one that fails there is either wrong or listed in
its guest as `qemu-differs`, with the reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.guest.micro import runner

pytestmark = pytest.mark.guest

GUESTS = {guest.name: guest for guest in runner.find_guests()}
MINIMUM_ASSERTIONS = 400


@functools.cache
def outcome_of(name: str, engine: str) -> runner.Outcome:
    """One run of a guest serves every test that looks at it."""
    if not runner.available(engine):
        pytest.skip(f"{engine} is not installed here")
    return runner.run(GUESTS[name], engine)


@pytest.mark.parametrize("engine", sorted(runner.ENGINES))
@pytest.mark.parametrize("name", GUESTS)
def test_every_assertion_holds(
    name: str, engine: str, record_property: Callable[[str, object], None]
) -> None:
    outcome = outcome_of(name, engine)
    record_property("assertions", len(outcome.assertions))
    unexpected = outcome.failed()
    if engine == "qemu":
        unexpected = [a for a in unexpected if a.name not in GUESTS[name].qemu_differs]
    else:
        unexpected += outcome.skipped()  # Wardian's own model has all that the guests ask for
    lines = [a.line for a in unexpected]
    assert outcome.problem is None, "\n".join([outcome.problem, *lines])
    assert not lines, "\n".join([f"{len(lines)} of {len(outcome.assertions)}:", *lines])


@pytest.mark.parametrize("name", GUESTS)
def test_names_are_unique_and_directives_name_them(name: str) -> None:
    names = [assertion.name for assertion in outcome_of(name, "qemu").assertions]
    assert sorted(names) == sorted(set(names))
    assert set(GUESTS[name].qemu_differs) <= set(names)


def test_there_are_enough_assertions() -> None:
    total = sum(len(outcome_of(name, "qemu").assertions) for name in GUESTS)
    assert total >= MINIMUM_ASSERTIONS
