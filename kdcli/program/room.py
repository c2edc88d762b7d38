"""Whether a batch fits into the memory, judged by parts of it: what takes too much is killed without a word."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from kdcli.data.memory import available_bytes
from kdcli.errors import MachineError
from kdcli.memory import resident_bytes
from kdcli.report.units import size

_PARTS = (64, 256, 1024)


def check_batch(batch: int, peak_of: Callable[[int], int | None]) -> None:
    """Try ever larger parts of a batch, each after the first two only if it will fit.

    Args:
        batch: How many examples the whole one has; one that is hardly larger than a part is not judged.
        peak_of: Trains on so many examples, and says how many bytes this process then had at most; None where the
            system does not tell.

    Raises:
        MachineError: The next part or the whole batch will not fit.
    """
    parts = [part for part in _PARTS if part < batch]
    tried: list[tuple[int, int]] = []
    for part, following in pairwise([*parts, batch] if len(parts) > 1 else []):
        peak = peak_of(part)
        if peak is None:
            return
        tried.append((part, peak))
        if len(tried) > 1:
            _check(batch, following, *tried[-2:])


def _check(batch: int, following: int, smaller: tuple[int, int], larger: tuple[int, int]) -> None:
    """Go on to the next batch only if it will fit: memory grows by as much for each example."""
    each = max(0, larger[1] - smaller[1]) / (larger[0] - smaller[0])
    more = larger[1] - resident_bytes()
    free = available_bytes()
    if more + each * (following - larger[0]) > free:
        needed = round(more + each * (batch - larger[0]))
        raise MachineError(
            f"batches of {batch:,} examples need about {size(needed)} more memory, and {size(free)} are free",
            where="batch_size",
            fix="choose a smaller batch_size",
        )
