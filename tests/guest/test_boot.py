"""The stock kernel in a machine of the SDK: sizes, an interactive shell, reboots, and ends."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

import wardian
from tests.conftest import MakeInitrd

pytest.importorskip("wardian._core", reason="the core is not built: run `make build`")
pytestmark = pytest.mark.guest

BOOT_S = 300
SHELL_S = 60
APPEND = "console=ttyS0 quiet panic=-1"

#: What the guest prints about itself before it powers off.
_REPORT = """
echo "cpus=$(nproc) kib=$(sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)"
"""


def machine(kernel: Path, initrd: Path, memory: str = "256M", cpus: int = 1) -> wardian.Machine:
    return wardian.Machine(
        kernel=kernel, initrd=initrd, append=APPEND, memory=memory, cpus=cpus, on_reset="exit"
    )


@pytest.mark.parametrize(("memory", "cpus"), [("128M", 1), ("1G", 2), ("4G", 4)])
def test_the_guest_has_the_cpus_and_the_memory_it_was_given(
    memory: str, cpus: int, debian_kernel: Path, busybox_initrd: MakeInitrd
) -> None:
    with machine(debian_kernel, busybox_initrd(_REPORT), memory, cpus) as guest:
        found = guest.console.expect(r"cpus=(\d+) kib=(\d+)\s", BOOT_S)
        assert guest.wait(SHELL_S).reason is wardian.ExitReason.POWER_OFF
    assert int(found[1]) == cpus
    given_kib = guest.spec.memory_bytes >> 10
    # The kernel keeps some for itself; what is left says that it found all there is.
    assert 0.6 * given_kib < int(found[2]) <= given_kib
    stats = guest.stats()
    assert len(stats.vcpus) == cpus
    assert all(vcpu["instructions"] > 0 for vcpu in stats.vcpus)
    assert sum(row.errors for row in stats.ranges) == 0


def test_a_shell_can_be_talked_to(debian_kernel: Path, busybox_initrd: MakeInitrd) -> None:
    with machine(debian_kernel, busybox_initrd("sh -i")) as guest:
        guest.console.expect("# ", BOOT_S)
        guest.console.write("echo $((6 * 7))\n")
        guest.console.expect(r"\r\n42\r\n", SHELL_S)
        guest.console.write("stty rows 33 cols 101; stty size\n")
        guest.console.expect(r"\r\n33 101\r\n", SHELL_S)
        states = guest.vcpu_states()
        assert states[0]["cr0"] >> 31 == 1, "paging is on"
        guest.console.write("exit\n")
        assert guest.wait(SHELL_S).reason is wardian.ExitReason.POWER_OFF


def test_a_reboot_is_a_reset(debian_kernel: Path, busybox_initrd: MakeInitrd) -> None:
    with machine(debian_kernel, busybox_initrd("reboot -f")) as guest:
        assert guest.wait(BOOT_S).reason is wardian.ExitReason.RESET


def test_a_reboot_boots_again(debian_kernel: Path, busybox_initrd: MakeInitrd) -> None:
    initrd = busybox_initrd('echo "again?"; read answer; [ "$answer" = yes ] && reboot -f')
    with wardian.Machine(kernel=debian_kernel, initrd=initrd, append=APPEND) as guest:
        guest.console.expect(r"again\?", BOOT_S)
        guest.console.write("yes\n")
        guest.console.expect(r"again\?", BOOT_S)
        guest.console.write("no\n")
        assert guest.wait(SHELL_S).reason is wardian.ExitReason.POWER_OFF
    assert guest.stats().resets == 1


def test_a_panic_without_init_is_seen(debian_kernel: Path, tmp_path: Path) -> None:
    empty = tmp_path / "initrd"
    empty.write_bytes(bytes(512))
    with machine(debian_kernel, empty) as guest:
        found = guest.console.expect(r"Kernel panic[^\r\n]*", BOOT_S)
        assert re.search("not syncing", found[0])
        assert guest.wait(SHELL_S).reason is wardian.ExitReason.RESET


def test_a_machine_can_be_stopped_in_mid_boot(
    debian_kernel: Path, busybox_initrd: MakeInitrd
) -> None:
    guest = machine(debian_kernel, busybox_initrd("true"), cpus=2)
    guest.start()
    guest.stop()
    assert guest.wait(0).reason is wardian.ExitReason.STOPPED
    assert not [t for t in threading.enumerate() if t.name.startswith(("vcpu", "machine"))]


def test_memory_that_cannot_hold_the_kernel_is_refused(
    debian_kernel: Path, busybox_initrd: MakeInitrd
) -> None:
    with pytest.raises(wardian.CallerError, match="at least") as caught:
        machine(debian_kernel, busybox_initrd("true"), memory="32M").start()
    assert caught.value.code == "BOOT_MEMORY_TOO_SMALL"
