"""What this host offers: facts only, gathered once, judged elsewhere (`wardian.cpu.choice`).

Everything is read from files, so a test hands in a directory that looks like another host.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import platform
import stat
from dataclasses import dataclass
from pathlib import Path

#: KVM_GET_API_VERSION, `_IO(0xAE, 0x00)` in linux/kvm.h; every kernel since 2.6.22 answers 12.
_KVM_GET_API_VERSION = 0xAE00


@dataclass(frozen=True, slots=True)
class KvmFacts:
    """The state of /dev/kvm."""

    #: "" when it opened, else the errno name ("ENOENT", "EACCES", ...).
    open_error: str
    #: What KVM_GET_API_VERSION answered, or None.
    api_version: int | None
    #: The kvm_pvm module is loaded or built in.
    pvm_module: bool


@dataclass(frozen=True, slots=True)
class CoreFacts:
    """The compiled core: its version, or why it cannot be imported."""

    version: str | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One host, as an engine needs to know it. Memory is in bytes."""

    machine: str
    kernel: str
    cpu_vendor: str
    cpu_name: str
    cpu_flags: frozenset[str]
    cpus: int
    memory_total: int
    memory_available: int
    kvm: KvmFacts
    core: CoreFacts

    @property
    def hardware_virtualization(self) -> str:
        """`"vmx"`, `"svm"`, or `""` where the CPU shows neither."""
        return next((flag for flag in ("vmx", "svm") if flag in self.cpu_flags), "")


def gather_host(root: Path = Path("/")) -> HostFacts:
    """Reads the facts of the host whose file system starts at `root`. Never raises."""
    cpu = _cpuinfo(root)
    total, available = host_memory(root)
    return HostFacts(
        machine=platform.machine(),
        kernel=platform.release(),
        cpu_vendor=cpu.get("vendor_id", ""),
        cpu_name=cpu.get("model name", ""),
        cpu_flags=frozenset(cpu.get("flags", "").split()),
        cpus=len(os.sched_getaffinity(0)),
        memory_total=total,
        memory_available=available,
        kvm=_kvm(root),
        core=_core(),
    )


def host_memory(root: Path = Path("/")) -> tuple[int, int]:
    """Memory in total and memory a new process may still take, in bytes.

    MemAvailable counts page cache that the kernel would give up (Linux proc(5)); the limits of
    this process's cgroups (version 2) lower both figures, as in a container.
    """
    rows = _numbers(root / "proc/meminfo")
    total, available = rows.get("MemTotal:", 0) * 1024, rows.get("MemAvailable:", 0) * 1024
    for folder in _cgroups(root):
        limit = _text(folder / "memory.max").strip()
        used = _text(folder / "memory.current").strip()
        if limit.isdigit() and used.isdigit():
            # What is used includes page cache, which gives way before the limit is felt
            # (Documentation/admin-guide/cgroup-v2.rst, memory.stat).
            kinds = _numbers(folder / "memory.stat")
            cache = kinds.get("active_file", 0) + kinds.get("inactive_file", 0)
            total = min(total, int(limit))
            available = min(available, max(0, int(limit) - max(0, int(used) - cache)))
    return total, available


def _numbers(path: Path) -> dict[str, int]:
    """The first number of each row, by the row's first word."""
    rows = {}
    for line in _text(path).splitlines():
        match line.split():
            case [name, number, *_] if number.isdigit():
                rows[name] = int(number)
    return rows


def _cgroups(root: Path) -> list[Path]:
    """The cgroup v2 folders that bound this process: its own and every parent."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            own = mount / line[3:].lstrip("/")
            return [folder for folder in (own, *own.parents) if folder.is_relative_to(mount)]
    return []


def _cpuinfo(root: Path) -> dict[str, str]:
    """The rows of the first processor in /proc/cpuinfo."""
    rows = {}
    for line in _text(root / "proc/cpuinfo").splitlines():
        if not line.strip():
            break
        name, _, value = line.partition(":")
        rows[name.strip()] = value.strip()
    return rows


def _kvm(root: Path) -> KvmFacts:
    # A built-in module has no row in /proc/modules (and the file is absent from kernels without
    # loadable modules), but it has a folder in /sys/module: either is proof.
    modules = {line.split(" ", 1)[0] for line in _text(root / "proc/modules").splitlines()}
    pvm_module = "kvm_pvm" in modules or (root / "sys/module/kvm_pvm").exists()
    path = root / "dev/kvm"
    try:
        # Checked before the open: opening a FIFO of that name would wait for ever.
        if not stat.S_ISCHR(path.stat().st_mode):
            return KvmFacts("ENODEV", None, pvm_module)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return KvmFacts(errno.errorcode.get(error.errno or 0, "EIO"), None, pvm_module)
    try:
        return KvmFacts("", fcntl.ioctl(descriptor, _KVM_GET_API_VERSION, 0), pvm_module)
    except OSError:
        return KvmFacts("", None, pvm_module)
    finally:
        os.close(descriptor)


def _core() -> CoreFacts:
    try:
        core = importlib.import_module("wardian._core")
    except ImportError as error:
        return CoreFacts(None, str(error))
    return CoreFacts(str(getattr(core, "__version__", "unknown")))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
