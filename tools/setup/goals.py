"""What each goal of the Makefile needs, from the host upwards."""

from __future__ import annotations

from tools.setup import host, rust, venv


def prepare_build() -> None:
    """Prepare what running Wardian needs: the virtual environment and the built core."""
    host.require([host.C_COMPILER, host.VENV])
    rust.require_rust()
    venv.make_venv()
    venv.install_group("build")
    venv.build_core()


def prepare_checks() -> None:
    """Prepare what linting and type checking need; the core is not built."""
    host.require([host.C_COMPILER, host.VENV])
    rust.require_rust()
    rust.require_rust_checks()
    venv.make_venv()
    venv.install_group("check")


def prepare_test() -> None:
    """Prepare what the tests need, QEMU included where it can be had."""
    host.require([host.C_COMPILER, host.VENV, host.QEMU])
    prepare_checks()
    prepare_build()


def prepare_bench() -> None:
    """Prepare what the benchmark needs, the peers included where they can be had."""
    host.require([host.C_COMPILER, host.VENV, host.QEMU, host.UML])
    prepare_build()


GOALS = {
    "build": prepare_build,
    "checks": prepare_checks,
    "test": prepare_test,
    "bench": prepare_bench,
}
