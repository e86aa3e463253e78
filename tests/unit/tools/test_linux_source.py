"""tools/assets/linux_source.py: the named parts of the source, downloaded once per kernel."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tools import cache
from tools.assets import distro
from tools.assets.kernel import Kernel
from tools.assets.linux_source import linux_source
from tools.errors import ToolError

KERNEL = Kernel(Path("vmlinuz"), "linux-image-6.1", "6.1.1-1", "")


class Package:
    """Stands in for the distribution: a source package with three files and a link."""

    def __init__(self) -> None:
        self.downloads = 0

    def unpack(self, name: str, into: Path) -> None:
        assert name == "linux-source-6.1"
        self.downloads += 1
        place = into / "usr" / "src"
        place.mkdir(parents=True)
        with tarfile.open(place / "linux-source-6.1.tar.xz", "w:xz") as archive:
            for path, mode in (("tools/x86/a.c", 0o644), ("tools/x86/check.sh", 0o755)):
                self.add(archive, f"linux-source-6.1/{path}", mode)
            self.add(archive, "linux-source-6.1/tools/x86x/other.c", 0o644)
            self.add(archive, "linux-source-6.1/tools/x86/../../escape", 0o644)

    @staticmethod
    def add(archive: tarfile.TarFile, name: str, mode: int) -> None:
        member = tarfile.TarInfo(name)
        member.mode = mode
        member.size = len(name)
        archive.addfile(member, io.BytesIO(name.encode()))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    stand_in = Package()
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    monkeypatch.setattr(distro, "dependencies", lambda name: ["linux-source-6.1"])
    monkeypatch.setattr(distro, "version", lambda name: "6.1.2-1")
    monkeypatch.setattr(distro, "unpack_package", stand_in.unpack)
    return stand_in


def test_only_the_named_parts_are_kept(package: Package) -> None:
    source = linux_source(KERNEL, ["tools/x86"])
    kept = {str(path.relative_to(source.path)) for path in source.path.rglob("*") if path.is_file()}
    assert kept == {"tools/x86/a.c", "tools/x86/check.sh", "provenance"}
    assert (source.path / "tools/x86/check.sh").stat().st_mode & 0o100
    assert not (source.path / "tools/x86/a.c").stat().st_mode & 0o100
    assert (source.package, source.version) == ("linux-source-6.1", "6.1.2-1")


def test_the_package_is_downloaded_once_per_kernel(package: Package) -> None:
    assert linux_source(KERNEL, ["tools/x86"]) == linux_source(KERNEL, ["tools/x86"])
    assert package.downloads == 1


def test_a_part_that_is_not_there_is_told(package: Package) -> None:
    with pytest.raises(ToolError, match="has no tools/arm"):
        linux_source(KERNEL, ["tools/x86", "tools/arm"])
