"""Files with symbols: the two texts, ELF, and what is neither."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from wardian.base.errors import CallerError
from wardian.profile.symbol_file import read_symbols

SYSTEM_MAP = b"""\
0000000000000000 A VDSO32_PRELINK
ffffffff81000000 T _text
ffffffff81000110 t local_function
ffffffff82000080 T entry_SYSCALL_64
ffffffff83000000 D data
"""

_SOURCE = """
        .text
        .globl function
        .type function, @function
function: nop
        nop
label:  ret
        .data
        .globl variable
        .type variable, @object
variable: .quad 0
        .section .rodata
constant: .quad 0
"""


def test_a_system_map() -> None:
    symbols = read_symbols(SYSTEM_MAP, "It")
    assert symbols.name(0xFFFF_FFFF_8100_0111) == "local_function+0x1"
    assert symbols.address("entry_SYSCALL_64") == 0xFFFF_FFFF_8200_0080
    assert symbols.name(0xFFFF_FFFF_8300_0001) == ""
    assert symbols.address("VDSO32_PRELINK") is None, "nothing is at address zero"


def test_a_copy_of_kallsyms_with_modules() -> None:
    text = SYSTEM_MAP + b"ffffffffc0001000 t helper\t[virtio_net]\n"
    assert read_symbols(text, "It").name(0xFFFF_FFFF_C000_1000) == "helper"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n",
        b"".join(b"0000000000000000 T function%d\n" % i for i in range(100)),
        SYSTEM_MAP + b"this is no symbol\n",
        SYSTEM_MAP.replace(b"_text", b"\x1b[2J"),
        random.Random(4).randbytes(10_000),
        b"\x7fELF\x01\x01" + bytes(100),
        b"\x7fELF\x02\x01" + bytes(10),
        b"\x7fELF\x02\x01" + bytes(100),
    ],
    ids=["empty", "debian", "restricted", "prose", "escape", "noise", "elf32", "cut", "no-table"],
)
def test_files_without_symbols(data: bytes) -> None:
    with pytest.raises(CallerError, match=r"^It .*\.$") as caught:
        read_symbols(data, "It")
    assert caught.value.code == "PROFILE_SYMBOLS"


@pytest.fixture
def elf(tmp_path: Path) -> bytes:
    """An executable with one symbol of each kind."""
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    path = tmp_path / "program"
    command = [
        "gcc",
        "-nostdlib",
        "-static",
        "-Wl,-e,function",
        "-x",
        "assembler",
        "-",
        "-o",
        str(path),
    ]
    subprocess.run(command, input=_SOURCE.encode(), check=True)
    return path.read_bytes()


def test_an_elf_file(elf: bytes) -> None:
    symbols = read_symbols(elf, "It")
    function = symbols.address("function")
    assert function
    assert symbols.name(function + 1) == "function+0x1"
    assert symbols.name(function + 2) == "label"
    for data in ("variable", "constant"):
        address = symbols.address(data)
        assert address
        assert symbols.name(address) == ""


def test_elf_files_that_are_cut_or_damaged_are_refused_or_read(elf: bytes) -> None:
    chance = random.Random(5)
    for _ in range(300):
        damaged = bytearray(elf[: chance.randrange(6, len(elf))])
        for _ in range(3):
            damaged[chance.randrange(6, len(damaged) + 1) - 1] = chance.randrange(256)
        try:
            read_symbols(bytes(damaged), "It")
        except CallerError as error:
            assert error.code == "PROFILE_SYMBOLS"
