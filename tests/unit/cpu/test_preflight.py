"""Host facts, from directories that look like hosts."""

from __future__ import annotations

from pathlib import Path

from wardian.cpu.preflight import gather_host, host_memory

MIB = 1 << 20


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_this_host_is_described() -> None:
    host = gather_host()
    assert host.machine == "x86_64"
    assert "sse2" in host.cpu_flags
    assert 0 < host.memory_available <= host.memory_total
    assert host.cpus >= 1


def test_an_empty_directory_is_a_host_without_anything(tmp_path: Path) -> None:
    host = gather_host(tmp_path)
    assert (host.memory_total, host.memory_available) == (0, 0)
    assert host.cpu_flags == frozenset()
    assert host.hardware_virtualization == ""
    assert host.kvm.open_error == "ENOENT"
    assert not host.kvm.pvm_module


def test_cpu_facts_are_those_of_the_first_processor(tmp_path: Path) -> None:
    row = "processor\t: {}\nvendor_id\t: {}\nmodel name\t: A: B\nflags\t\t: fpu {}\n\n"
    write(
        tmp_path,
        "proc/cpuinfo",
        row.format(0, "GenuineIntel", "vmx") + row.format(1, "Other", "svm"),
    )
    host = gather_host(tmp_path)
    assert (host.cpu_vendor, host.cpu_name) == ("GenuineIntel", "A: B")
    assert host.cpu_flags == {"fpu", "vmx"}
    assert host.hardware_virtualization == "vmx"


def test_memory_is_what_the_kernel_would_give_up(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\n")
    assert host_memory(tmp_path) == (2 * MIB, MIB)


def test_a_container_has_what_its_cgroups_leave(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 4096000 kB\n")
    write(tmp_path, "proc/self/cgroup", "0::/pod/box\n")
    write(tmp_path, "sys/fs/cgroup/pod/box/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/pod/box/memory.current", "5\n")
    write(tmp_path, "sys/fs/cgroup/pod/memory.max", f"{100 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/pod/memory.current", f"{30 * MIB}\n")
    assert host_memory(tmp_path) == (100 * MIB, 70 * MIB)


def test_page_cache_in_a_container_counts_as_free(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 4096000 kB\n")
    write(tmp_path, "proc/self/cgroup", "0::/box\n")
    write(tmp_path, "sys/fs/cgroup/box/memory.max", f"{100 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/box/memory.current", f"{95 * MIB}\n")
    stat = f"anon {15 * MIB}\nfile {80 * MIB}\nactive_file {30 * MIB}\ninactive_file {50 * MIB}\n"
    write(tmp_path, "sys/fs/cgroup/box/memory.stat", stat)
    assert host_memory(tmp_path) == (100 * MIB, 85 * MIB)


def test_a_file_in_the_place_of_the_device_is_no_device(tmp_path: Path) -> None:
    write(tmp_path, "dev/kvm", "")
    assert gather_host(tmp_path).kvm.open_error == "ENODEV"


def test_kvm_pvm_is_seen_loaded_or_built_in(tmp_path: Path) -> None:
    write(tmp_path, "proc/modules", "kvm_pvm 1 0 - Live 0x0\n")
    assert gather_host(tmp_path).kvm.pvm_module
    builtin = tmp_path / "other"
    (builtin / "sys/module/kvm_pvm").mkdir(parents=True)
    assert gather_host(builtin).kvm.pvm_module
