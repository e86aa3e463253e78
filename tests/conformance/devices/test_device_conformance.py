"""What every device must hold: it never raises, reads fit their width, and a reset is a reset.

A new device joins by one line in catalogue.py.
"""

from __future__ import annotations

import inspect
import pkgutil
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wardian.devices
from tests.conformance.devices.catalogue import CATALOGUE, Entry, Surroundings
from wardian.devices.device import Device
from wardian.devices.register_device import RegisterDevice

SIZES = (1, 2, 4, 8)
# ECAM is 256 MiB of mostly absent functions: its first pages, one absent bus, and its end.
_DENSE = 64
_SPARSE = (0x7C, 0xFE, 0x100, 0xFFE, 0x1000, 0x8000, 0x8010, 0x8FFF, 1 << 20, (1 << 28) - 8)


def values(size: int) -> list[int]:
    """Zero, one, the greatest and its neighbours, and signs at each width."""
    top = 1 << 8 * size
    corners = {0, 1, 0x55, 0x7F, 0x80, 0xFF, 1 << 31, (1 << 32) - 1, top // 2, top - 2, top - 1}
    return sorted(value for value in corners if value < top)


def offsets(length: int) -> list[int]:
    return [*range(min(length, _DENSE)), *(at for at in _SPARSE if _DENSE <= at < length)]


@dataclass
class Bench:
    """One device under test."""

    entry: Entry
    around: Surroundings = field(default_factory=Surroundings)

    def __post_init__(self) -> None:
        self.device = self.entry.build(self.around)
        self.lengths = self.entry.lengths(self.device)

    def read(self, range_index: int, offset: int, size: int) -> int:
        value = self.device.read(range_index, offset, size)
        assert isinstance(value, int)
        assert 0 <= value < 1 << 8 * size, f"read of {size} bytes at {offset:#x} gave {value:#x}"
        return value

    def write(self, range_index: int, offset: int, size: int, value: int) -> None:
        self.device.write(range_index, offset, size, value)

    def read_everything(self) -> list[int]:
        return [
            self.read(index, offset, 1)
            for index, length in enumerate(self.lengths)
            for offset in offsets(length)
        ]


@pytest.fixture(params=CATALOGUE)
def entry(request: pytest.FixtureRequest) -> Entry:
    return CATALOGUE[request.param]


def test_every_device_is_in_the_catalogue() -> None:
    defined = set()
    for module in pkgutil.iter_modules(wardian.devices.__path__, "wardian.devices."):
        names = vars(__import__(module.name, fromlist=["_"])).values()
        defined |= {
            one
            for one in names
            if inspect.isclass(one)
            and issubclass(one, Device)
            and one not in (Device, RegisterDevice)
        }
    assert {type(entry.build(Surroundings())) for entry in CATALOGUE.values()} == defined


def test_ranges_and_registers_agree(entry: Entry) -> None:
    bench = Bench(entry)
    assert bench.device.name
    assert bench.device.ranges == bench.device.ranges
    assert all(length > 0 for length in bench.lengths)
    for length, layout in zip(bench.lengths, entry.maps, strict=False):
        assert layout.length == length


def test_a_new_device_drives_no_line_and_ends_nothing(entry: Entry) -> None:
    bench = Bench(entry)
    bench.read_everything()
    assert not any(bench.around.lines.values())
    assert bench.around.ends == 0


@pytest.mark.parametrize("size", SIZES)
def test_every_offset_takes_every_corner_value_in_every_width(entry: Entry, size: int) -> None:
    bench = Bench(entry)
    for index, length in enumerate(bench.lengths):
        for offset in offsets(length):
            for value in values(size):
                bench.write(index, offset, size, value)
                bench.read(index, offset, size)
            bench.around.clock.advance(0.3)


def test_every_register_after_every_other(entry: Entry) -> None:
    """Each pair of one-byte writes, so that a mode set by one is met by each other."""
    bench = Bench(entry)
    for index, length in enumerate(bench.lengths):
        places = offsets(length)[:16]
        for first in places:
            for value in (0, 1, 0x10, 0x7F, 0x80, 0xD1, 0xFF):
                bench.write(index, first, 1, value)
                for second in places:
                    bench.write(index, second, 1, 0xFF)
                    bench.read(index, second, 1)


def test_accesses_past_the_end_of_a_range_are_harmless(entry: Entry) -> None:
    bench = Bench(entry)
    for index, length in enumerate(bench.lengths):
        for offset in range(length - min(length, 8), length + 16):
            for size in SIZES:
                bench.write(index, offset, size, (1 << 8 * size) - 1)
                bench.read(index, offset, size)


@pytest.mark.parametrize("name", [name for name, one in CATALOGUE.items() if one.index])
def test_every_register_behind_an_index_takes_every_corner_value(name: str) -> None:
    bench = Bench(CATALOGUE[name])
    index = bench.entry.index
    assert index is not None
    for key in index.keys:
        for size in (1, 2, 4):
            for value in values(size):
                bench.write(*index.at, key)
                bench.write(*index.data, size, value)
                bench.write(*index.at, key)
                bench.read(*index.data, size)
        bench.around.clock.advance(0.3)


def test_a_reset_lowers_every_line(entry: Entry) -> None:
    bench = Bench(entry)
    for index, length in enumerate(bench.lengths):
        for offset in offsets(length):
            bench.write(index, offset, 1, 0xFF)
            entry.nudge(bench.device)
    bench.device.reset()
    assert not any(bench.around.lines.values())


@dataclass(frozen=True)
class Access:
    """A guest's read or write; `which` and `place` are taken modulo what the device has."""

    is_write: bool
    which: int
    place: int
    size: int
    value: int

    def apply(self, bench: Bench) -> None:
        index = self.which % len(bench.lengths)
        offset = self.place % bench.lengths[index]
        if self.is_write:
            bench.write(index, offset, self.size, self.value)
        else:
            bench.read(index, offset, self.size)


@dataclass(frozen=True)
class Reset:
    """The machine resets the device."""

    def apply(self, bench: Bench) -> None:
        bench.device.reset()
        assert not any(bench.around.lines.values())


@dataclass(frozen=True)
class Nudge:
    """Something happens on the host's side."""

    def apply(self, bench: Bench) -> None:
        bench.entry.nudge(bench.device)


@dataclass(frozen=True)
class Wait:
    """Time passes."""

    seconds: float

    def apply(self, bench: Bench) -> None:
        bench.around.clock.advance(self.seconds)


accesses = st.builds(
    Access,
    is_write=st.booleans(),
    which=st.integers(0, 7),
    place=st.integers(0, (1 << 28) - 1) | st.integers(0, 16),
    size=st.sampled_from(SIZES),
    value=st.sampled_from(values(8)) | st.integers(0, (1 << 64) - 1),
)
steps = accesses | st.builds(Reset) | st.builds(Nudge) | st.builds(Wait, st.floats(0, 100_000))


@pytest.mark.parametrize("name", CATALOGUE)
@settings(deadline=None)
@given(story=st.lists(steps, max_size=60))
def test_any_sequence_with_resets_in_mid_stream(
    name: str, story: list[Access | Reset | Nudge | Wait]
) -> None:
    bench = Bench(CATALOGUE[name])
    for step in story:
        step.apply(bench)


# All but the clock, whose battery keeps its RAM and its time.
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "rtc"])
@settings(deadline=None)
@given(story=st.lists(accesses, max_size=40))
def test_after_a_reset_a_device_reads_like_a_new_one(name: str, story: list[Access]) -> None:
    bench, fresh = Bench(CATALOGUE[name]), Bench(CATALOGUE[name])
    for step in story:
        step.apply(bench)
    bench.device.reset()
    assert bench.read_everything() == fresh.read_everything()
