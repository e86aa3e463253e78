"""Samples added up, and the difference of two profiles."""

from __future__ import annotations

from wardian.profile.profile import HotBlock, Profile
from wardian.profile.symbols import Naming, Symbol, Symbols

KERNEL = 0xFFFF_FFFF_8100_0000
NAMING = Naming(Symbols([Symbol(KERNEL, "T", "work")]))

SAMPLES = [
    (0, KERNEL + 4, False, True, False, 30),
    (1, KERNEL + 4, False, True, False, 20),
    (0, KERNEL + 4, False, False, False, 7),
    (0, 0x40_1000, True, True, False, 40),
    (0, KERNEL + 8, False, False, True, 100),
    (1, 0, False, False, True, 3),
]


def test_the_hottest_blocks_of_all_vcpus() -> None:
    profile = Profile.of(SAMPLES, lost=3, hz=199, naming=NAMING)
    assert (profile.executing, profile.asleep, profile.total) == (100, 103, 203)
    assert profile.hottest(2) == [
        HotBlock(KERNEL + 4, False, True, 50, "work+0x4"),
        HotBlock(0x40_1000, True, True, 40),
    ]
    assert len(profile.hottest(10)) == 3


def test_equally_hot_blocks_are_in_the_order_of_their_addresses() -> None:
    profile = Profile.of([(0, rip, False, False, False, 1) for rip in (3, 1, 2)])
    assert [block.rip for block in profile.hottest(3)] == [1, 2, 3]


def test_what_was_added_since() -> None:
    earlier = Profile.of(SAMPLES, lost=3)
    more = [*SAMPLES, (0, 0x40_1000, True, True, False, 5), (0, 0, False, False, True, 6)]
    recent = Profile.of(more, lost=4, naming=NAMING).since(earlier)
    assert dict(recent.busy) == {(0x40_1000, True, True): 5}
    assert (recent.asleep, recent.lost, recent.total) == (6, 1, 12)
    assert recent.naming is NAMING


def test_after_a_reset_everything_is_new() -> None:
    after = Profile.of([(0, 1, False, False, False, 2)])
    assert after.since(Profile.of(SAMPLES)) is after
