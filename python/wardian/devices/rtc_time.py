"""Between calendar fields that a guest may have made up and seconds since 1970 (UTC)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Two days short of what datetime can hold, so that arithmetic at either end stays inside.
_FIRST_S = int((datetime(1, 1, 2, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST_S = int((datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH).total_seconds())


def from_seconds(seconds: int) -> datetime:
    """Return the moment `seconds` after 1970, held within the years 1 to 9999."""
    return _EPOCH + timedelta(seconds=_clamp(seconds, _FIRST_S, _LAST_S))


def to_seconds(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Return seconds since 1970. A field out of its range counts as the nearest one within it.

    A day past the end of its month counts on into the next: 30 February is 1 or 2 March.
    """
    month_start = datetime(_clamp(year, 1, 9999), _clamp(month, 1, 12), 1, tzinfo=UTC)
    moment = month_start + timedelta(
        days=_clamp(day, 1, 31) - 1,
        hours=_clamp(hour, 0, 23),
        minutes=_clamp(minute, 0, 59),
        seconds=_clamp(second, 0, 59),
    )
    return int((moment - _EPOCH).total_seconds())


def _clamp(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))
