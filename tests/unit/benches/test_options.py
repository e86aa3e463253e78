"""benches/options.py: defaults, the quick look, and nonsense."""

from __future__ import annotations

import pytest

from benches.options import parse_options
from benches.rows import TABLE_ROWS


def test_without_options_everything_runs() -> None:
    options = parse_options([])
    assert options.rows == tuple(TABLE_ROWS)
    assert options.subjects == ("wardian", "tcg", "tcg-avx", "uml")
    assert (options.scale, options.runs, options.budget_s) == (1, 5, float("inf"))


def test_the_quick_look_has_every_row_and_a_budget() -> None:
    options = parse_options(["--quick"])
    assert options.rows == tuple(TABLE_ROWS)
    assert 60 <= options.budget_s <= 90
    assert options.scale < 1


def test_what_is_given_goes_before_the_quick_look() -> None:
    options = parse_options(["--quick", "--scale", "2", "--runs", "3"])
    assert (options.scale, options.runs, options.budget_s) == (2, 3, float("inf"))


def test_words_are_separated_by_commas_or_spaces() -> None:
    options = parse_options(["--rows", "crc32,fork+exec boot", "--subjects", "interpret,tcg"])
    assert options.rows == ("crc32", "fork+exec", "boot")
    assert options.subjects == ("interpret", "tcg")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rows", "crc"], "no row is called 'crc'; there are crc32, "),
        (["--subjects", "bochs"], "no subject is called 'bochs'; there are wardian, "),
        (["--scale", "0"], "must be positive"),
        (["--scale", "nan"], "must be positive"),
        (["--runs", "0"], "must be positive"),
        (["--limit", "-1"], "must be positive"),
        (["--runs", "many"], "invalid int value"),
    ],
)
def test_nonsense_is_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_only_a_session_of_every_row_is_complete() -> None:
    assert parse_options([]).is_complete
    assert not parse_options(["--rows", "crc32"]).is_complete
