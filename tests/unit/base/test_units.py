"""Sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.base.errors import CallerError
from wardian.base.units import (
    GIB,
    KIB,
    MIB,
    TIB,
    format_bytes,
    format_count,
    format_size,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 * MIB),
        ("512m", 512 * MIB),
        ("512MB", 512 * MIB),
        ("512MiB", 512 * MIB),
        (" 2 G ", 2 * GIB),
        ("1.5G", 3 * GIB // 2),
        ("64K", 64 * KIB),
        ("1T", TIB),
        ("4096B", 4096),
        ("4096T", 4096 * TIB),
    ],
)
def test_sizes_that_are_understood(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "", "M", "512", "0M", "-1M", "+1M", "1e3M", "512X", "512 M B", "1.M", ".5M", "0x10M",
        "0.3B", "0.0000001K", "4097T", "9" * 18 + "T", "9" * 5000 + "M",
        "\u0663M", "512M\x00", "\uff11M",
    ],
)  # fmt: skip
def test_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(CallerError) as caught:
        parse_size(text)
    assert caught.value.code == "MEM_SIZE"
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()


@given(st.text())
def test_any_text_is_a_size_or_a_caller_error(text: str) -> None:
    try:
        assert 0 < parse_size(text) <= 4096 * TIB
    except CallerError as error:
        assert error.code == "MEM_SIZE"


@given(st.integers(1, 1 << 52))
def test_a_formatted_size_reads_back_as_itself(size: int) -> None:
    assert parse_size(format_size(size).replace("bytes", "B")) == size


def test_the_message_names_what_was_asked_for() -> None:
    with pytest.raises(CallerError, match="disk size"):
        parse_size("lots", "disk size")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (100_000, "100 k"),
        (123_456, "123 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (1_234_567, "1.23 M"),
        (12_345_678, "12.3 M"),
        (9.996e9, "10.0 G"),
        (2.5e15, "2500 T"),
    ],
)
def test_counts_have_three_digits_once_they_are_large(count: float, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.00 KiB"), (3 << 19, "1.50 MiB")],
)
def test_bytes_in_binary_units(size: int, text: str) -> None:
    assert format_bytes(size) == text
