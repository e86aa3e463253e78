from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wardian.boot import acpi_tables, aml, dsdt
from wardian.boot.board import pci_intx_gsi


def test_soft_off_names_the_sleep_type() -> None:
    assert b"\x08\\_S5_\x12\x07\x04\x0a\x05\x00\x00\x00" in dsdt.definition_block()


def test_every_pci_pin_is_routed() -> None:
    block = dsdt.definition_block()
    for device in range(32):
        for pin in range(4):
            gsi = pci_intx_gsi(device, pin)
            row = [aml.integer(n) for n in (device << 16 | 0xFFFF, pin, 0, gsi)]
            assert aml.package(row) in block


def test_devices_have_their_plug_and_play_ids() -> None:
    block = dsdt.definition_block()
    for ident in ("PNP0A08", "PNP0A03", "PNP0C02", "PNP0501", "PNP0B00"):
        assert aml.eisa_id(ident) in block


def test_the_clock_announces_no_interrupt() -> None:
    # The device has no line: a driver that waited for IRQ 8 would wait for ever.
    assert aml.resources(aml.io(0x70, 2)) in dsdt.definition_block()


@pytest.mark.skipif(not shutil.which("iasl"), reason="acpica-tools is not installed")
def test_acpicas_compiler_reads_it_back(tmp_path: Path) -> None:
    (table,) = (data for _, data in acpi_tables(1) if data.startswith(b"DSDT"))
    (tmp_path / "dsdt.dat").write_bytes(table)
    for arguments in (["-d", "dsdt.dat"], ["-p", "again", "dsdt.dsl"]):
        run = subprocess.run(
            ["iasl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    assert "0 Errors, 0 Warnings, 0 Remarks" in run.stdout
