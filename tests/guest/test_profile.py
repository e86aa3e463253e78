"""The profile of real guests: the hottest code is where the guest is known to be."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

import wardian
from tests.conftest import MakeInitrd

pytest.importorskip("wardian._core", reason="the core is not built: run `make build`")
pytestmark = pytest.mark.guest

BOOT_S = 300
#: Enough samples to tell the hot from the cold, however busy the host is.
ENOUGH = 300

#: A PVH kernel that waits for a key, and then spins in a loop of three instructions.
_SPIN = r"""
        .section .note.Xen, "a", @note
        .long 4, 4, 18                  # XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .long start

        .text
        .code32
        .globl start
start:  movw $0x3fd, %dx
1:      inb %dx, %al
        testb $1, %al
        jz 1b
        jmp spin

        .balign 64
        .globl spin
spin:   incl %eax
        xorl $5, %ecx
        jmp spin

        .balign 64
        .globl after
after:  hlt
"""


def sampled(machine: wardian.Machine, count: int) -> None:
    """Waits until vCPUs that execute have been sampled `count` times more."""
    wanted = machine.profiling.profile().executing + count
    deadline = time.monotonic() + BOOT_S
    while machine.profiling.profile().executing < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_loop_is_the_hottest_block_and_has_its_files_symbol(tmp_path: Path) -> None:
    source, kernel = tmp_path / "spin.s", tmp_path / "spin.elf"
    source.write_text(_SPIN)
    compile_ = ["gcc", "-m32", "-nostdlib", "-static", "-Wl,-Ttext=0x100000", "-Wl,-e,start"]
    subprocess.run([*compile_, "-x", "assembler", source, "-o", kernel], check=True)
    names = tmp_path / "spin.map"
    listing = subprocess.run(["nm", kernel], check=True, capture_output=True, text=True).stdout
    names.write_text(listing)
    machine = wardian.Machine(kernel=kernel, memory="256M")
    machine.profiling.use_symbols(names)
    machine.profiling.start(1000)
    with machine:
        sampled(machine, 1)
        before = machine.profiling.profile()
        machine.console.write("x")
        sampled(machine, ENOUGH)
        recent = machine.profiling.profile().since(before)
    hottest = recent.hottest(1)[0]
    assert hottest.symbol.partition("+")[0] == "spin"
    assert not hottest.user
    assert hottest.samples > 0.8 * recent.executing


def test_the_stock_kernels_own_symbols_name_its_code(
    debian_kernel: Path, busybox_initrd: MakeInitrd
) -> None:
    # The guest's own list of its symbols is the truth. Writing to /dev/null is all system calls.
    initrd = busybox_initrd(
        "grep -w -e entry_SYSCALL_64 -e ksys_write /proc/kallsyms; echo listed;"
        "dd if=/dev/zero of=/dev/null bs=1"
    )
    with wardian.Machine(
        kernel=debian_kernel, initrd=initrd, append="console=ttyS0 quiet", memory="256M"
    ) as machine:
        machine.profiling.start(1000)
        listed = machine.console.expect(r"listed\s", BOOT_S)
        before = machine.profiling.profile()
        sampled(machine, ENOUGH)
        profile = machine.profiling.profile()
        recent = profile.since(before)
    lines = re.findall(r"([0-9a-f]{16}) T (\w+)", listed.string[: listed.start()])
    truth = {name: int(address, 16) for address, name in lines}
    symbols = profile.naming.symbols
    assert symbols, profile.naming.origin
    assert truth
    assert {name: symbols.address(name) for name in truth} == truth
    names = [block.symbol for block in recent.hottest(10_000) if not block.user]
    assert sum(bool(name) for name in names) > 0.9 * len(names)
    assert any(name.startswith("entry_SYSCALL_64") for name in names)
    assert any(block.user for block in recent.hottest(10_000))


def test_translated_blocks_are_listed_for_perf(
    debian_kernel: Path, busybox_initrd: MakeInitrd
) -> None:
    machine = wardian.Machine(
        kernel=debian_kernel,
        initrd=busybox_initrd("echo up"),
        append="console=ttyS0 quiet",
        memory="256M",
        engine="translate",
    )
    path = machine.profiling.write_perf_map()
    try:
        with machine:
            machine.wait(BOOT_S)
        listed = path.read_text()
    finally:
        path.unlink(missing_ok=True)
    lines = [line.split(" ", 2) for line in listed.splitlines()]
    assert len(lines) == machine.profiling.blocks_listed > 1000
    assert all(int(start, 16) and 0 < int(size, 16) < 1 << 20 for start, size, _ in lines)
    names = [name for _, _, name in lines]
    # The decompressor, which runs before the kernel has symbols, is listed too.
    assert sum(re.fullmatch(r"guest:k:[A-Za-z_].*", name) is not None for name in names) > 1000
    assert any(name.startswith("guest:u:0x") for name in names)
