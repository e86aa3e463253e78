"""An ELF kernel entered through PVH, assembled here: its entry state and its start info.

Xen's docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import wardian

pytestmark = pytest.mark.guest

# Prints one letter per fact that holds and a dash for one that does not, waits for a key, and ends
# with status 3.
_SOURCE = r"""
        .section .note.Xen, "a", @note
        .long 4, 4, 18                  # XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .long start

        .text
        .code32
        .globl start
start:  movl $stack, %esp
        cmpl $0x336ec578, (%ebx)        # the magic number of hvm_start_info
        movb $'M', %al
        call fact
        cmpl $1, 4(%ebx)                # its version
        movb $'V', %al
        call fact
        cmpl $1, 12(%ebx)               # one module: the initial RAM disk
        movb $'I', %al
        call fact
        movl 16(%ebx), %esi             # module list
        movl (%esi), %esi               # address of the first
        cmpl $0x6b736964, (%esi)        # "disk"
        movb $'D', %al
        call fact
        movl 24(%ebx), %esi             # command line
        cmpl $0x6c6c6568, (%esi)        # "hell"
        movb $'C', %al
        call fact
        movl 32(%ebx), %esi             # ACPI root pointer: "RSD "
        cmpl $0x20445352, (%esi)
        movb $'R', %al
        call fact
        movl %cr0, %eax
        andl $0x80000001, %eax          # protected mode, no paging
        cmpl $1, %eax
        movb $'P', %al
        call fact
        movb $'\n', %al
        call put
        movw $0x3fd, %dx                # the machine is looked at before it ends: wait for a key
1:      inb %dx, %al
        testb $1, %al
        jz 1b
        movb $1, %al
        outb %al, $0xf4
1:      hlt
        jmp 1b

fact:   je put
        movb $'-', %al
put:    movw $0x3f8, %dx
        outb %al, %dx
        ret

        .bss
        .skip 4096
stack:
"""


def test_a_kernel_with_a_pvh_note_finds_what_it_was_promised(tmp_path: Path) -> None:
    source, kernel, disk = tmp_path / "pvh.s", tmp_path / "pvh.elf", tmp_path / "disk.img"
    source.write_text(_SOURCE)
    disk.write_bytes(b"disk contents")
    compile_ = ["gcc", "-m32", "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-e,start"]
    subprocess.run([*compile_, "-x", "assembler", source, "-o", kernel], check=True)
    with wardian.Machine(
        kernel=kernel, initrd=disk, append="hello there", memory="256M", debug_exit=True
    ) as machine:
        letters = machine.console.expect(r"([A-Z-]+)\n", 30)[1]
        assert "PVH" in machine.description
        machine.console.write("x")
        ended = machine.wait(30)
    assert letters == "MVIDCRP"
    assert (ended.reason, ended.status) == (wardian.ExitReason.DEBUG_EXIT, 3)
