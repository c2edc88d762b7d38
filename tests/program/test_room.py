"""Batches that do not fit into the memory, found out by parts of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdcli.errors import MachineError
from kdcli.memory import peak_bytes, resident_bytes
from kdcli.program.room import check_batch

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system tells no peak")


def parts_of(batch: int) -> list[int]:
    """The parts that are tried of a batch whose examples take a thousand bytes each."""
    tried: list[int] = []

    def peak_of(part: int) -> int:
        tried.append(part)
        return resident_bytes() + 1000 * part

    check_batch(batch, peak_of)
    return tried


@pytest.mark.parametrize(("batch", "parts"), [(64, []), (256, []), (512, [64, 256]), (5000, [64, 256, 1024])])
def test_a_batch_that_fits_is_tried_in_parts_first(batch: int, parts: list[int]) -> None:
    assert parts_of(batch) == parts


def test_a_batch_that_will_not_fit_is_refused_with_what_it_needs() -> None:
    with pytest.raises(MachineError, match=r"batches of 1,000,000,000,000 examples need about 1,?000.* TB more memory"):
        parts_of(10**12)


def test_a_part_that_will_not_fit_is_not_tried() -> None:
    tried: list[int] = []

    def peak_of(part: int) -> int:
        tried.append(part)
        return resident_bytes() + 10**10 * part

    with pytest.raises(MachineError):
        check_batch(5000, peak_of)
    assert tried == [64, 256]


def test_where_the_system_does_not_tell_nothing_is_judged() -> None:
    check_batch(10**12, lambda part: None)


def test_the_peak_counts_what_was_given_back_and_nothing_from_before() -> None:
    size = 200 * 2**20
    bytes(size).count(1)
    before = resident_bytes()
    quiet, busy = peak_bytes(lambda: None), peak_bytes(lambda: _fill(size))
    assert quiet is not None
    assert busy is not None
    assert quiet - before < size / 2 < 0.9 * size < busy - before


def _fill(size: int) -> None:
    assert b"\1" * size
