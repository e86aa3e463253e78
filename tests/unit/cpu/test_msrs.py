from __future__ import annotations

from wardian.cpu.models import MODELS, msr_defaults


def test_linux_is_told_that_nothing_needs_a_mitigation() -> None:
    for model in MODELS:
        capabilities = msr_defaults(model)[0x10A]
        for bit in (0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62):
            assert capabilities >> bit & 1
        # RSBA, TSX_CTRL, FB_CLEAR, RRSBA and RFDS_CLEAR would each ask for a mitigation.
        for bit in (2, 7, 17, 19, 28):
            assert not capabilities >> bit & 1


def test_memory_types_are_write_back() -> None:
    assert msr_defaults("x86-64-v2")[0x2FF] == 0x806


def test_misc_enable_has_fast_strings_and_no_event_sampling() -> None:
    assert msr_defaults("x86-64-v2")[0x1A0] == 1 << 0 | 1 << 11 | 1 << 12
