"""The 16550: what each register does, and that input survives a driver's probing."""

from __future__ import annotations

import pytest

from wardian.devices.serial import (
    FCR_CLEAR_RECEIVER,
    FCR_ENABLE,
    IER_LINE,
    IER_MODEM,
    IER_RECEIVED,
    IER_TRANSMIT,
    IIR_FIFO,
    IIR_LINE,
    IIR_MODEM,
    IIR_NONE,
    IIR_RECEIVED,
    IIR_TIMEOUT,
    IIR_TRANSMIT,
    LCR_DLAB,
    LSR_IDLE,
    LSR_OVERRUN,
    LSR_READY,
    MCR_LOOP,
    MCR_RTS,
    Serial16550,
)

DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)
FCR = IIR


class Port:
    """A serial port with everything that left it."""

    def __init__(self) -> None:
        self.sent = b""
        self.levels: list[bool] = []
        self.device = Serial16550(self._send, self.levels.append)

    def _send(self, data: bytes) -> None:
        self.sent += data

    def get(self, register: int) -> int:
        return self.device.read(0, register, 1)

    def put(self, register: int, value: int) -> None:
        self.device.write(0, register, 1, value)

    def get_all(self) -> bytes:
        received = b""
        while self.get(LSR) & LSR_READY:
            received += bytes([self.get(DATA)])
        return received

    def raised(self) -> bool:
        return bool(self.levels) and self.levels[-1]


@pytest.fixture
def port() -> Port:
    return Port()


def test_registers_after_power_on(port: Port) -> None:
    assert [port.get(register) for register in range(8)] == [
        0,
        0,
        IIR_NONE,
        0,
        0,
        LSR_IDLE,
        0xB0,
        0,
    ]
    assert port.levels == []


def test_what_the_guest_writes_goes_out_at_once(port: Port) -> None:
    for value in b"hello\x00\xff":
        port.put(DATA, value)
        assert port.get(LSR) == LSR_IDLE
    assert port.sent == b"hello\x00\xff"


def test_scratch_keeps_a_byte(port: Port) -> None:
    port.put(SCR, 0xA5)
    assert port.get(SCR) == 0xA5


def test_the_divisor_latch_lies_over_the_first_two_registers(port: Port) -> None:
    port.put(IER, IER_LINE)
    port.put(LCR, LCR_DLAB | 3)
    port.put(DATA, 0x34)
    port.put(IER, 0x12)
    assert (port.get(DATA), port.get(IER)) == (0x34, 0x12)
    port.put(LCR, 3)
    assert port.get(IER) == IER_LINE
    assert port.sent == b""


def test_reserved_bits_read_as_zero(port: Port) -> None:
    port.put(IER, 0xFF)
    port.put(MCR, 0xFF & ~MCR_LOOP)
    assert port.get(IER) == 0x0F
    assert port.get(MCR) == 0x0F


def test_line_and_modem_status_ignore_writes(port: Port) -> None:
    port.put(LSR, 0)
    port.put(MSR, 0)
    assert (port.get(LSR), port.get(MSR)) == (LSR_IDLE, 0xB0)


def test_fifo_bits_of_iir_follow_fcr(port: Port) -> None:
    port.put(FCR, FCR_ENABLE)
    assert port.get(IIR) == IIR_FIFO | IIR_NONE
    port.put(FCR, 0)
    assert port.get(IIR) == IIR_NONE


class TestReceiving:
    def test_input_arrives_in_order(self, port: Port) -> None:
        port.device.feed(b"abc")
        port.device.feed(b"def")
        assert port.get_all() == b"abcdef"
        assert port.device.unread == 0

    def test_an_empty_receiver_reads_as_zero(self, port: Port) -> None:
        assert port.get(DATA) == 0

    @pytest.mark.parametrize("fcr", [0, FCR_ENABLE, FCR_ENABLE | 0xC0])
    def test_more_than_the_fifo_holds_waits_on_the_host(self, port: Port, fcr: int) -> None:
        port.put(FCR, fcr)
        text = bytes(range(256)) * 40
        port.device.feed(text)
        assert port.device.unread == len(text)
        assert port.get_all() == text

    def test_the_interrupt_lasts_until_the_last_byte_is_read(self, port: Port) -> None:
        port.put(IER, IER_RECEIVED)
        port.device.feed(b"ab")
        assert port.raised()
        port.get(DATA)
        assert port.raised()
        port.get(DATA)
        assert not port.raised()

    def test_no_interrupt_unless_enabled(self, port: Port) -> None:
        port.device.feed(b"a")
        assert not port.raised()
        port.put(IER, IER_RECEIVED)
        assert port.raised()
        assert port.get(IIR) == IIR_RECEIVED

    @pytest.mark.parametrize(("bits", "level"), [(0x00, 1), (0x40, 4), (0x80, 8), (0xC0, 14)])
    def test_below_the_trigger_level_the_fifo_times_out(
        self, port: Port, bits: int, level: int
    ) -> None:
        port.put(FCR, FCR_ENABLE | bits)
        port.put(IER, IER_RECEIVED)
        port.device.feed(bytes(level - 1))
        if level > 1:
            assert port.get(IIR) == IIR_FIFO | IIR_TIMEOUT
        port.device.feed(b"x")
        assert port.get(IIR) == IIR_FIFO | IIR_RECEIVED


class TestInputOutlivesProbing:
    """The host keeps what a FIFO reset would destroy and what nobody is ready to read."""

    def test_a_fifo_reset_loses_nothing(self, port: Port) -> None:
        port.device.feed(b"typed early")
        port.put(FCR, FCR_ENABLE)
        port.put(FCR, FCR_ENABLE | FCR_CLEAR_RECEIVER)
        port.put(FCR, 0)
        assert port.get_all() == b"typed early"

    def test_after_mcr_was_written_without_rts_nothing_is_sent(self, port: Port) -> None:
        port.put(MCR, 0)
        port.device.feed(b"a")
        assert port.get(LSR) == LSR_IDLE
        assert port.get(DATA) == 0
        port.put(MCR, MCR_RTS)
        assert port.get_all() == b"a"

    def test_receive_interrupts_count_as_readiness(self, port: Port) -> None:
        port.put(MCR, 0)
        port.device.feed(b"a")
        port.put(IER, IER_RECEIVED)
        assert port.raised()
        assert port.get_all() == b"a"

    def test_a_linux_8250_probe_and_startup_keep_the_input(self, port: Port) -> None:
        port.device.feed(b"uname -a\n")
        # autoconfig: IER test, loopback test, FIFO test, clean-up with a read of RBR.
        for value in (0, 0x0F, 0):
            port.put(IER, value)
            assert port.get(IER) == value
        port.put(MCR, MCR_LOOP | 0x0A)
        assert port.get(MSR) & 0xF0 == 0x90
        port.put(MCR, 0)
        port.put(FCR, FCR_ENABLE)
        assert port.get(IIR) >> 6 == 3
        port.put(FCR, FCR_ENABLE | 6)
        port.put(FCR, 0)
        port.get(DATA)
        port.put(IER, 0)
        # startup: FIFOs cleared, pending state read away, then interrupts, line settings and RTS.
        port.put(FCR, FCR_ENABLE | 6)
        port.put(FCR, 0)
        for register in (LSR, DATA, IIR, MSR):
            port.get(register)
        port.put(LCR, 3)
        port.put(MCR, 0x08)
        port.put(IER, IER_LINE | IER_RECEIVED)
        port.put(FCR, FCR_ENABLE)
        port.put(FCR, FCR_ENABLE | 0x80)
        port.put(MCR, 0x0B)
        assert port.raised()
        assert port.get_all() == b"uname -a\n"

    def test_input_waits_while_the_line_is_looped_back(self, port: Port) -> None:
        port.device.feed(b"in")
        port.put(MCR, MCR_LOOP | MCR_RTS)
        assert port.get(LSR) == LSR_IDLE
        port.put(DATA, 0x77)
        assert port.get_all() == b"\x77"
        port.put(MCR, MCR_RTS)
        assert port.get_all() == b"in"

    def test_a_reset_keeps_what_the_host_sent(self, port: Port) -> None:
        port.put(IER, IER_RECEIVED)
        port.device.feed(b"kept")
        port.device.reset()
        assert not port.raised()
        assert port.get(IER) == 0
        assert port.get_all() == b"kept"


class TestTransmitInterrupt:
    def test_enabling_it_with_an_idle_transmitter_raises_it(self, port: Port) -> None:
        port.put(IER, IER_TRANSMIT)
        assert port.raised()
        assert port.get(IIR) == IIR_TRANSMIT
        assert not port.raised()
        assert port.get(IIR) == IIR_NONE

    def test_it_comes_again_each_time_it_is_enabled(self, port: Port) -> None:
        for _ in range(2):
            port.put(IER, IER_TRANSMIT)
            assert port.get(IIR) == IIR_TRANSMIT
            port.put(IER, 0)
            assert not port.raised()

    def test_a_byte_sent_raises_it_anew(self, port: Port) -> None:
        port.put(IER, IER_TRANSMIT)
        port.get(IIR)
        port.put(DATA, 0x41)
        assert port.raised()

    def test_a_byte_sent_without_reading_iir_still_makes_an_edge(self, port: Port) -> None:
        port.put(IER, IER_TRANSMIT)
        port.levels.clear()
        port.put(DATA, 0x41)
        assert port.levels == [False, True]

    def test_sending_with_the_interrupt_off_leaves_the_line_alone(self, port: Port) -> None:
        for value in b"printk":
            port.put(DATA, value)
        assert port.levels == []


def test_interrupts_are_named_in_order_of_priority(port: Port) -> None:
    port.put(MCR, MCR_LOOP)
    port.put(DATA, 1)
    port.put(DATA, 2)  # Overrun: there is one receive register.
    port.put(IER, IER_RECEIVED | IER_TRANSMIT | IER_LINE | IER_MODEM)
    assert port.get(IIR) == IIR_LINE
    assert port.get(LSR) == LSR_IDLE | LSR_OVERRUN | LSR_READY
    assert port.get(IIR) == IIR_RECEIVED
    assert port.get(DATA) == 2
    assert port.get(IIR) == IIR_TRANSMIT
    assert port.get(IIR) == IIR_MODEM
    port.get(MSR)
    assert port.get(IIR) == IIR_NONE
    assert not port.raised()


class TestLoopback:
    def test_bytes_come_back_and_do_not_go_out(self, port: Port) -> None:
        port.put(FCR, FCR_ENABLE)
        port.put(MCR, MCR_LOOP)
        for value in b"round":
            port.put(DATA, value)
        assert port.get_all() == b"round"
        assert port.sent == b""

    def test_a_full_fifo_keeps_its_first_bytes(self, port: Port) -> None:
        port.put(FCR, FCR_ENABLE)
        port.put(MCR, MCR_LOOP)
        for value in range(20):
            port.put(DATA, value)
        assert port.get(LSR) & LSR_OVERRUN
        assert not port.get(LSR) & LSR_OVERRUN
        assert port.get_all() == bytes(range(16))

    def test_a_fifo_reset_drops_looped_bytes(self, port: Port) -> None:
        port.put(FCR, FCR_ENABLE)
        port.put(MCR, MCR_LOOP)
        port.put(DATA, 0x41)
        port.put(FCR, FCR_ENABLE | FCR_CLEAR_RECEIVER)
        assert port.get(LSR) == LSR_IDLE

    @pytest.mark.parametrize(
        ("outputs", "inputs"), [(1, 0x20), (2, 0x10), (4, 0x40), (8, 0x80), (15, 0xF0), (0, 0)]
    )
    def test_modem_outputs_drive_the_inputs(self, port: Port, outputs: int, inputs: int) -> None:
        port.put(MCR, MCR_LOOP | outputs)
        assert port.get(MSR) & 0xF0 == inputs

    def test_changes_show_once_and_of_ri_only_the_trailing_edge(self, port: Port) -> None:
        port.put(MCR, MCR_LOOP)
        port.get(MSR)
        port.put(MCR, MCR_LOOP | 0x0F)
        assert port.get(MSR) == 0xFB
        assert port.get(MSR) == 0xF0
        port.put(MCR, MCR_LOOP)
        assert port.get(MSR) == 0x0F
        assert port.get(MSR) == 0x00

    def test_leaving_it_restores_a_connected_line(self, port: Port) -> None:
        port.put(MCR, MCR_LOOP)
        port.put(MCR, 0)
        assert port.get(MSR) & 0xF0 == 0xB0
        port.put(DATA, 0x41)
        assert port.sent == b"A"


def test_a_word_write_is_two_byte_writes(port: Port) -> None:
    port.device.write(0, LCR, 2, 0x0B03)
    assert (port.get(LCR), port.get(MCR)) == (0x03, 0x0B)
    assert port.device.read(0, LCR, 2) == 0x0B03


def test_the_port_claims_the_eight_registers_at_its_base() -> None:
    (claim,) = Serial16550(lambda _: None, lambda _: None, base=0x2F8).ranges
    assert (claim.base, claim.length) == (0x2F8, 8)
