"""Fakes for tests of what stands on Wardian: an engine whose guests are Python generators."""

from __future__ import annotations

from wardian.testing.fake_engine import FakeVm
from wardian.testing.fake_vcpu import FakeVcpu
from wardian.testing.host import fake_host
from wardian.testing.kernels import multiboot_kernel
from wardian.testing.steps import (
    Fail,
    Guest,
    Halt,
    In,
    Load,
    Out,
    Raise,
    Spin,
    Step,
    Store,
    TripleFault,
)

__all__ = [
    "Fail",
    "FakeVcpu",
    "FakeVm",
    "Guest",
    "Halt",
    "In",
    "Load",
    "Out",
    "Raise",
    "Spin",
    "Step",
    "Store",
    "TripleFault",
    "fake_host",
    "multiboot_kernel",
]
