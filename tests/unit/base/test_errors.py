"""The error tree: four roots, stable codes, one sentence."""

from __future__ import annotations

import copy
import pickle

import pytest

from wardian.base.errors import BugError, CallerError, GuestError, HostError, WardianError

ROOTS = [CallerError, HostError, BugError, GuestError]


@pytest.mark.parametrize("root", ROOTS)
def test_an_error_has_a_code_and_reads_as_its_message(root: type[WardianError]) -> None:
    error = root("MEM_SIZE", "That is no size.")
    assert isinstance(error, WardianError)
    assert error.code == "MEM_SIZE"
    assert str(error) == error.message == "That is no size."


def test_the_roots_are_siblings() -> None:
    for root in ROOTS:
        assert [other for other in ROOTS if issubclass(root, other)] == [root]


@pytest.mark.parametrize("root", ROOTS)
def test_an_error_survives_copying_and_pickling(root: type[WardianError]) -> None:
    error = root("A_CODE", "A sentence.")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is root
        assert (twin.code, twin.message) == ("A_CODE", "A sentence.")
