"""tools/guest_console.py and tools/assets/reports.py: reports are found, all else is shown."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.assets.reports import Report, new_nonce, parse
from tools.guest_console import ConsoleSplitter

NONCE = "00112233"
CONSOLE = (
    b"[ 0.0] Linux version 6.1\r\n@wardian ready 00112233\r\n@wardian ready spoof\r\n"
    b"hello \n@ @wardian exit 00112233 9\n\n@wardian exit 00112233 42\r\nreboot: Power down"
)
SHOWN = (
    b"[ 0.0] Linux version 6.1\r\n@wardian ready spoof\r\n"
    b"hello \n@ @wardian exit 00112233 9\n\nreboot: Power down"
)


@pytest.mark.parametrize(
    ("line", "report"),
    [
        (b"@wardian ready 00112233", Report("ready", None)),
        (b"@wardian exit 00112233 0", Report("exit", 0)),
        (b"@wardian exit 00112233 255", Report("exit", 255)),
        (b"@wardian exit 00112233 256", None),
        (b"@wardian exit 00112233 -1", None),
        (b"@wardian exit 00112233 \xb2", None),
        (b"@wardian exit 00112233", None),
        (b"@wardian exit other 1", None),
        (b"@wardian", None),
        (b" @wardian ready 00112233", None),
    ],
)
def test_parse(line: bytes, report: Report | None) -> None:
    assert parse(line, NONCE) == report


@given(st.lists(st.integers(0, len(CONSOLE)), max_size=12))
def test_pieces_of_any_size_give_the_same(cuts: list[int]) -> None:
    splitter = ConsoleSplitter(NONCE)
    edges = [0, *sorted(cuts), len(CONSOLE)]
    events = [
        event for start, end in pairwise(edges) for event in splitter.feed(CONSOLE[start:end])
    ]
    shown = b"".join(event for event in events if isinstance(event, bytes))
    assert shown + splitter.rest() == SHOWN
    reports = [event for event in events if isinstance(event, Report)]
    assert reports == [Report("ready", None), Report("exit", 42)]


@given(st.lists(st.binary(max_size=40)))
def test_ordinary_output_passes_unchanged(pieces: list[bytes]) -> None:
    splitter = ConsoleSplitter(new_nonce())
    shown = b"".join(
        event for piece in pieces for event in splitter.feed(piece) if isinstance(event, bytes)
    )
    assert shown + splitter.rest() == b"".join(pieces)


def test_a_half_line_shows_at_once() -> None:
    assert ConsoleSplitter(NONCE).feed(b"login: ") == [b"login: "]


def test_a_long_line_that_begins_like_a_report_is_not_held_for_ever() -> None:
    line = b"@wardian " + b"x" * 200
    assert ConsoleSplitter(NONCE).feed(line) == [line]
