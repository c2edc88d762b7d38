"""Who takes part in a training: one process, or several of which each has some rows of every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from kdcli.errors import MachineError

T = TypeVar("T")


class PeerLostError(MachineError):
    """Another process of the training is gone, or does not answer."""


@dataclass(frozen=True)
class Rows:
    """Which rows of a whole batch one process has.

    Where there are fewer rows than processes, a process without one has a row of another, which counts for nothing:
    every process then takes the same steps.

    Args:
        first: The first row.
        count: How many of them count; ``held`` is one more where that would be none.
        whole: Rows of the whole batch.
    """

    first: int
    count: int
    whole: int

    @classmethod
    def of(cls, whole: int, rank: int, size: int) -> Rows:
        """The rows of process ``rank`` of ``size``: shares that differ by one row at most, in order of rank."""
        first, end = whole * rank // size, whole * (rank + 1) // size
        return cls(min(first, whole - 1), end - first, whole)

    @property
    def held(self) -> slice:
        """The rows that the process works on."""
        return slice(self.first, self.first + max(self.count, 1))

    @property
    def weight(self) -> float:
        """The share of the whole batch: a mean over these rows counts that much in the mean over all."""
        return self.count / self.whole


class Ranks(Protocol):
    """The processes of a training, as one of them sees them. All of them make the same calls in the same order."""

    @property
    def rank(self) -> int:
        """The number of this process; 0 is the one that selects checkpoints, writes and speaks."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def local_rank(self) -> int:
        """The number of this process on its machine."""

    @property
    def rows(self) -> Rows:
        """The rows that this process has of the batch of this step."""

    def begin(self, batch_size: int) -> None:
        """Begin a step on a batch of this size."""

    def own(self, batch: Tensor) -> Tensor:
        """The rows of a batch that this process has; of any batch, at any time."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place; the result is the same everywhere to the bit."""

    def tell(self, value: T) -> T:
        """What the first process says, as JSON carries it; the others' own value is not looked at."""

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors on the CPU with those of the first process."""

    def spread(self, indices: Tensor, ask: Callable[[Tensor], Tensor]) -> Tensor:
        """``ask(indices)``, of shape ``(K, N, ...)`` on the CPU, with each process asking about some of them."""


@dataclass(frozen=True)
class Alone:
    """One process, which does everything."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def rows(self) -> Rows:
        """See Ranks; a process that has every batch whole has no use for it."""
        raise AssertionError("one process has every batch whole")

    def begin(self, batch_size: int) -> None:
        """See Ranks."""

    def own(self, batch: Tensor) -> Tensor:
        """See Ranks."""
        return batch

    def sum(self, tensor: Tensor) -> Tensor:
        """See Ranks."""
        return tensor

    def tell(self, value: T) -> T:
        """See Ranks."""
        return value

    def share(self, tensors: Sequence[Tensor]) -> None:
        """See Ranks."""

    def spread(self, indices: Tensor, ask: Callable[[Tensor], Tensor]) -> Tensor:
        """See Ranks."""
        return ask(indices)


ALONE = Alone()
_current: list[Ranks] = [ALONE]


def current() -> Ranks:
    """The processes that this one works with."""
    return _current[-1]


@contextmanager
def among(ranks: Ranks) -> Iterator[None]:
    """Let what is built inside be for these processes."""
    _current.append(ranks)
    try:
        yield
    finally:
        _current.pop()
