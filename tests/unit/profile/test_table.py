"""Profiles as text."""

from __future__ import annotations

from wardian.profile.profile import Profile
from wardian.profile.symbols import Naming, Symbol, Symbols
from wardian.profile.table import describe_profile, live_lines

KERNEL = 0xFFFF_FFFF_8100_0000
NAMING = Naming(Symbols([Symbol(KERNEL, "T", "work")]), 0, "a file")

PROFILE = Profile.of(
    [
        (0, KERNEL + 0x1C, False, True, False, 1500),
        (0, 0x40_1000, True, False, False, 400),
        (0, 0x40_2000, True, False, False, 90),
        (0, KERNEL, False, False, True, 2000),
    ],
    lost=10,
    hz=199,
    naming=NAMING,
)


def test_the_table_at_the_end() -> None:
    assert describe_profile(PROFILE, rows=2).splitlines() == [
        "profile: 4,000 samples at 199 Hz a vCPU, 50% of them asleep, 2,000 executing",
        "symbols: a file",
        "  share   samples  ring  tier         address             symbol",
        "  75.0%     1,500     0  translated   0xffffffff8100001c  work+0x1c",
        "  20.0%       400     3  interpreted  0x0000000000401000",
        "   5.0%       100  in other places",
    ]


def test_a_table_of_everything_has_no_rest() -> None:
    whole = Profile.of([(0, 1, False, False, False, 2)], hz=1)
    assert "other places" not in describe_profile(whole)


def test_nothing_to_show() -> None:
    assert describe_profile(Profile()) == "profile: no samples were taken"
    asleep = Profile.of([(0, 1, False, False, True, 5)], hz=10)
    assert describe_profile(asleep).splitlines() == [
        "profile: 5 samples at 10 Hz a vCPU, 100% of them asleep, 0 executing"
    ]
    assert live_lines("title", Profile(), Profile(), 24, 80)[1] == "lately no samples were taken"


def test_the_view_shows_what_was_hot_lately_and_ever() -> None:
    recent = Profile.of([(0, 0x40_1000, True, False, False, 8), (0, 5, True, True, False, 2)])
    lines = live_lines("title", recent, PROFILE, 24, 200)
    assert lines[0] == "title"
    assert lines[2] == "symbols: a file"
    assert lines[3] == ""
    assert lines[5].split() == ["80.0%", "20.0%", "8", "3", "interpreted", "0x0000000000401000"]
    assert len(lines) == 7


def test_the_view_fits_the_window() -> None:
    for rows in range(1, 10):
        for columns in (1, 20, 80):
            lines = live_lines("a title", PROFILE, PROFILE, rows, columns)
            assert len(lines) <= rows
            assert all(len(line) <= columns for line in lines)
