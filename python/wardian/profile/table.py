"""A profile as text: the table at the end of a run, and the view that refreshes."""

from __future__ import annotations

from typing import Final

from wardian.profile.profile import HotBlock, Profile

#: Rows of the table at the end.
ROWS: Final = 20

_COLUMNS: Final = f"{'samples':>8}  ring  {'tier':<11}  {'address':<18}  symbol"


def describe_profile(profile: Profile, rows: int = ROWS) -> str:
    """The hottest blocks as a table of `rows` lines at most below two lines about the whole."""
    lines = [f"profile: {summary(profile)}"]
    if not profile.executing:
        return lines[0]
    lines += [f"symbols: {profile.naming.origin}", f"{'share':>7}  {_COLUMNS}"]
    blocks = profile.hottest(rows)
    lines += [f"{_share(b.samples, profile)}  {_block(b)}".rstrip() for b in blocks]
    rest = profile.executing - sum(block.samples for block in blocks)
    if rest:
        # Places the engine had no room for are among these.
        lines.append(f"{_share(rest, profile)}  {rest:>8,}  in other places")
    return "\n".join(lines)


def live_lines(title: str, recent: Profile, whole: Profile, rows: int, columns: int) -> list[str]:
    """The view as lines of at most `columns` characters, at most `rows` of them.

    `recent` is what was added lately: the order is by that. The second line after an empty one
    is the table's heading.
    """
    lines = [
        title,
        f"lately {summary(recent)}",
        f"symbols: {whole.naming.origin}",
        "",
        f"{'now':>6}  {'all':>6}  {_COLUMNS}",
    ]
    for block in recent.hottest(max(0, rows - len(lines))):
        ever = whole.busy[block.rip, block.user, block.translated]
        share = block.samples / recent.executing
        total = ever / whole.executing
        lines.append(f"{share:>6.1%}  {total:>6.1%}  {_block(block)}")
    return [line.rstrip()[:columns] for line in lines[:rows]]


def summary(profile: Profile) -> str:
    """One sentence on how much was sampled and how much of it was sleep."""
    if not profile.total:
        return "no samples were taken"
    asleep = profile.asleep / profile.total
    return (
        f"{profile.total:,} samples at {profile.hz:,} Hz a vCPU, "
        f"{asleep:.0%} of them asleep, {profile.executing:,} executing"
    )


def _share(samples: int, profile: Profile) -> str:
    return f"{samples / profile.executing:>7.1%}"


def _block(block: HotBlock) -> str:
    tier = "translated" if block.translated else "interpreted"
    ring = 3 if block.user else 0
    return f"{block.samples:>8,}  {ring:>4}  {tier:<11}  {block.rip:#018x}  {block.symbol}"
