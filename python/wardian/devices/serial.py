"""COM1: a 16550 serial port, the guest's console.

Source: National Semiconductor PC16550D data sheet (June 1995), section 8 and table II.

The line is infinitely fast: a byte written to THR is out at once, so the transmitter is always
empty. Towards the guest, the host sends only while the guest is ready for it (see `_ready`) and
takes back what a FIFO reset would destroy. So input that was typed, or piped in, before the
guest's driver was up is not lost in the driver's probing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from wardian.base.registers import Access, Register, RegisterBank, RegisterMap
from wardian.devices.device import Range, RangeKind
from wardian.devices.register_device import RegisterDevice

COM1_BASE = 0x3F8

REGISTERS = RegisterMap(
    8,
    [
        # writable=0: the hook keeps the value. With LCR.DLAB set, the first two offsets name the
        # divisor latch instead, so no plain store will do there.
        Register("RBR", 0, 1, Access.READ_ONLY),
        Register("THR", 0, 1, Access.WRITE_ONLY, writable=0),
        Register("IER", 1, 1, writable=0),
        Register("IIR", 2, 1, Access.READ_ONLY),
        Register("FCR", 2, 1, Access.WRITE_ONLY, writable=0),
        Register("LCR", 3, 1),
        Register("MCR", 4, 1, writable=0x1F),
        Register("LSR", 5, 1, Access.READ_ONLY),
        Register("MSR", 6, 1, Access.READ_ONLY),
        Register("SCR", 7, 1),
    ],
)

IER_RECEIVED, IER_TRANSMIT, IER_LINE, IER_MODEM = 0x01, 0x02, 0x04, 0x08
IIR_NONE, IIR_LINE, IIR_RECEIVED, IIR_TIMEOUT = 0x01, 0x06, 0x04, 0x0C
IIR_TRANSMIT, IIR_MODEM, IIR_FIFO = 0x02, 0x00, 0xC0
FCR_ENABLE, FCR_CLEAR_RECEIVER = 0x01, 0x02
LCR_DLAB = 0x80
MCR_RTS, MCR_LOOP = 0x02, 0x10
LSR_READY, LSR_OVERRUN, LSR_IDLE = 0x01, 0x02, 0x60
MSR_RI = 0x40

_FIFO_DEPTH = 16
_TRIGGERS = (1, 4, 8, 14)
_DIVISOR = 12  # 9600 baud from the PC's 1.8432 MHz crystal; the chip itself defines no value.
_BYTES = tuple(bytes([value]) for value in range(256))
# A terminal that is there and ready: DCD, DSR and CTS.
_CONNECTED = 0xB0
# What each modem control output drives in loopback (data sheet 8.6): DTR to DSR, RTS to CTS,
# OUT1 to RI and OUT2 to DCD.
_LOOPED_LINES = ((0x01, 0x20), (0x02, 0x10), (0x04, 0x40), (0x08, 0x80))


class Serial16550(RegisterDevice):
    """A 16550 whose other end is the host: `output` takes what the guest sends.

    `output` gets one byte at a time on the vCPU's thread. `irq` drives the interrupt line, level
    high. The line is not gated by OUT2: small kernels that never set OUT2 expect interrupts.
    """

    def __init__(
        self,
        output: Callable[[bytes], None],
        irq: Callable[[bool], None],
        base: int = COM1_BASE,
    ) -> None:
        self._output = output
        self._irq = irq
        self._bank = RegisterBank(
            REGISTERS,
            on_read={
                "RBR": self._read_receiver,
                "IER": self._read_interrupt_enable,
                "IIR": self._read_interrupt_identity,
                "LSR": self._read_line_status,
                "MSR": self._read_modem_status,
            },
            on_write={
                "THR": self._write_transmitter,
                "IER": self._write_interrupt_enable,
                "FCR": self._write_fifo_control,
                "LCR": self._write_line_control,
                "MCR": self._write_modem_control,
            },
        )
        super().__init__("serial", [Range(RangeKind.PIO, base, 8, "serial")], [self._bank])
        self._wire: deque[int] = deque()  # What the host has sent and the guest has not read.
        self._level = False
        self._power_on()

    def feed(self, data: bytes) -> None:
        """Send `data` to the guest; what the FIFO cannot take waits, in order and without limit.

        Thread: the caller holds the device's lock.
        """
        self._wire.extend(data)
        self._receive()
        self._update()

    @property
    def unread(self) -> int:
        """How many bytes given to `feed` the guest has not read yet."""
        return len(self._wire)

    def reset(self) -> None:
        """Put the chip in its power-on state; what waits on the host's side goes on waiting."""
        super().reset()
        self._power_on()
        self._receive()
        self._update()

    def _power_on(self) -> None:
        self._divisor = _DIVISOR
        self._divisor_access = False
        self._loop = False
        self._fifo = False
        self._trigger = 1
        self._looped: deque[int] = deque()  # Bytes in the receiver that came round the loop.
        self._arrived = 0  # How many bytes at the head of the wire are in the receiver.
        self._overrun = False
        self._transmit_pending = False
        self._enabled = 0  # IER, which the transmit path reads for each character.
        self._modem_lines = _CONNECTED  # Bits 7:4 of MSR.
        self._modem_delta = 0  # Bits 3:0 of MSR.
        self._probed = False

    # The receiver.

    def _ready(self) -> bool:
        """Whether the host may send: the guest holds RTS, or asked for receive interrupts.

        A guest that never touched MCR has no notion of flow control and polls.
        """
        if self._loop:
            return False
        return not self._probed or bool(self._bank["MCR"] & MCR_RTS or self._enabled & IER_RECEIVED)

    def _receive(self) -> None:
        """Let the wire fill the receiver."""
        if self._arrived < len(self._wire) and self._ready():
            room = (_FIFO_DEPTH if self._fifo else 1) - len(self._looped)
            self._arrived = max(self._arrived, min(room, len(self._wire)))

    def _read_receiver(self) -> int:
        if self._divisor_access:
            return self._divisor & 0xFF
        if self._looped:
            value = self._looped.popleft()
        elif self._arrived:
            self._arrived -= 1
            value = self._wire.popleft()
        else:
            return 0
        self._receive()
        self._update()
        return value

    def _clear_receiver(self) -> None:
        self._looped.clear()
        self._arrived = 0

    def _loop_back(self, value: int) -> None:
        """Receive what the guest itself sends (data sheet 8.6)."""
        held = len(self._looped) + self._arrived
        if held < (_FIFO_DEPTH if self._fifo else 1):
            self._looped.append(value)
            return
        # Data sheet 8.4, bit 1: a full FIFO keeps what it has, a single register is overwritten.
        self._overrun = True
        if not self._fifo:
            self._clear_receiver()
            self._looped.append(value)

    # The transmitter.

    def _write_transmitter(self, value: int) -> None:
        if self._divisor_access:
            self._divisor = self._divisor & 0xFF00 | value
            return
        if self._loop:
            self._loop_back(value)
        else:
            self._output(_BYTES[value])
        if self._enabled & IER_TRANSMIT or self._loop:
            # Filling THR takes the request back and its emptying raises it again: an
            # edge-triggered interrupt controller must see both.
            self._transmit_pending = False
            self._update()
            self._transmit_pending = True
            self._update()

    # Control and status.

    def _read_interrupt_enable(self) -> int:
        return self._divisor >> 8 if self._divisor_access else self._enabled

    def _write_interrupt_enable(self, value: int) -> None:
        if self._divisor_access:
            self._divisor = self._divisor & 0xFF | value << 8
            return
        asked = value & ~self._enabled
        self._enabled = value & 0x0F
        if asked & IER_TRANSMIT:
            self._transmit_pending = True  # The transmitter is empty now, so say so now.
        self._receive()
        self._update()

    def _identity(self) -> int:
        """Return the enabled interrupt of the highest priority (data sheet table IV)."""
        enabled = self._enabled
        if self._overrun and enabled & IER_LINE:
            return IIR_LINE
        held = self._arrived or self._looped
        if held and enabled & IER_RECEIVED:
            # With no line speed there is no time to wait: what lies below the trigger level has
            # timed out at once.
            full = not self._fifo or self._arrived + len(self._looped) >= self._trigger
            return IIR_RECEIVED if full else IIR_TIMEOUT
        if self._transmit_pending and enabled & IER_TRANSMIT:
            return IIR_TRANSMIT
        if self._modem_delta and enabled & IER_MODEM:
            return IIR_MODEM
        return IIR_NONE

    def _read_interrupt_identity(self) -> int:
        identity = self._identity()
        if identity == IIR_TRANSMIT:
            self._transmit_pending = False
            self._update()
        return identity | IIR_FIFO if self._fifo else identity

    def _write_fifo_control(self, value: int) -> None:
        enable = bool(value & FCR_ENABLE)
        # Data sheet 8.5: a change of bit 0 clears the FIFOs, and the other bits count only with it.
        if enable != self._fifo or (enable and value & FCR_CLEAR_RECEIVER):
            self._clear_receiver()
        self._fifo = enable
        self._trigger = _TRIGGERS[value >> 6] if enable else 1
        self._receive()
        self._update()

    def _write_line_control(self, value: int) -> None:
        self._divisor_access = bool(value & LCR_DLAB)

    def _write_modem_control(self, value: int) -> None:
        self._probed = True
        loop = bool(value & MCR_LOOP)
        if loop and not self._loop:
            self._arrived = 0  # The line is cut, and its bytes stay on the host's side.
        self._loop = loop
        lines = _CONNECTED
        if loop:
            lines = sum(line for output, line in _LOOPED_LINES if value & output)
        # Data sheet 8.8: bits 3:0 say which of bits 7:4 changed; of RI only the trailing edge.
        changed = self._modem_lines ^ lines
        if lines & MSR_RI:
            changed &= ~MSR_RI
        self._modem_lines = lines
        self._modem_delta |= changed >> 4
        self._receive()
        self._update()

    def _read_line_status(self) -> int:
        status = LSR_IDLE
        if self._arrived or self._looped:
            status |= LSR_READY
        if self._overrun:
            status |= LSR_OVERRUN
            self._overrun = False
            self._update()
        return status

    def _read_modem_status(self) -> int:
        status = self._modem_lines | self._modem_delta
        if self._modem_delta:
            self._modem_delta = 0
            self._update()
        return status

    def _update(self) -> None:
        """Drive the interrupt line to what the pending interrupts ask for."""
        level = self._identity() != IIR_NONE
        if level != self._level:
            self._level = level
            self._irq(level)
