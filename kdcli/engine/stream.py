"""The batches of an epoch: what the networks see, in an order and in views that depend on seeds alone.

Shapes: K networks, M teachers, B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from kdcli.data.normalize import Normalization
from kdcli.data.order import batches, epoch_order
from kdcli.data.source import Source
from kdcli.data.views import View
from kdcli.engine.ranks import ALONE, Ranks

TOGETHER_NUMBERS = 800_000
"""Numbers of input that are prepared at once where batches are smaller: they stay in the cache of a core."""


class Targets(Protocol):
    """What the teacher says of (example, view) pairs."""

    def logits(self, positions: Tensor, views: Tensor, inputs: Tensor) -> Tensor:
        """Logits ``(M, B, C)`` for positions in the transfer set, or for the raw views ``inputs`` themselves."""


@dataclass(frozen=True)
class Batch:
    """One step's data.

    ``inputs`` are normalised, ``(B, ...)``; where every network has examples of its own (``own``), ``(K, B, ...)``
    and the labels ``(K, B)``. ``teacher_logits`` are ``(M, B, C)``.
    """

    inputs: Tensor
    labels: Tensor
    teacher_logits: Tensor | None
    own: bool = False


@dataclass(frozen=True)
class Stream:
    """A transfer set as batches.

    Args:
        source: The raw inputs of the whole training set, which appear on the device of the training.
        labels: Their labels, on that device.
        indices: Positions in ``source``: one tensor that all networks share, or one for each network, equally long.
        view: The augmentation.
        normalization: Of the networks that train, not of their teacher.
        batch_size: Examples a step.
        data_seed: Decides order and views.
        targets: The teacher's answers, if there is one.
        epoch_examples: How many examples make an epoch, where it is not all of them: another draw each time.
        ranks: The processes that share every batch; the sizes here are of whole batches.
    """

    source: Source
    labels: Tensor
    indices: Sequence[Tensor]
    view: View
    normalization: Normalization
    batch_size: int
    data_seed: int
    targets: Targets | None = None
    epoch_examples: int | None = None
    ranks: Ranks = ALONE

    @property
    def num_examples(self) -> int:
        """Examples an epoch, for each network."""
        return min(len(self.indices[0]), self.epoch_examples or len(self.indices[0]))

    @property
    def batch_sizes(self) -> list[int]:
        """Examples of each step of an epoch."""
        return [len(batch) for batch in batches(torch.arange(self.num_examples), self.batch_size)]

    def epoch(self, epoch: int, first_step: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch, or this process's rows of them, from ``first_step`` on.

        To be closed where it is not used to its end: other processes may be at work for it.
        """
        order = epoch_order(self.data_seed, epoch, len(self.indices[0]))[: self.num_examples].to(self.labels.device)
        views = self.view.draw(self.data_seed, epoch, len(self.source)).to(self.labels.device)
        first_group = first_step // self._together
        groups = self._groups(order)[first_group:]
        examples = [self._examples(torch.cat(group.rows)) for group in groups]
        sizes, every = [len(each) for each in examples], torch.cat(examples)
        with closing(self.source.batches(examples)) as raws:
            told = zip(groups, self.labels[every].split(sizes), views[every].split(sizes), raws, strict=True)
            for number, (group, labels, shown, raw) in enumerate(told, first_group):
                done = max(first_step - number * self._together, 0)
                prepared = self._prepared(group.rows, labels, shown, raw)
                for size, batch in list(zip(group.sizes, prepared, strict=True))[done:]:
                    self.ranks.begin(size)
                    yield batch

    @cached_property
    def _together(self) -> int:
        """How many batches are prepared at once: small ones cost mostly the calls."""
        if len(self.indices) > 1:
            return 1
        numbers = self.source.gather(self.indices[0][:1]).numel() * self.batch_size
        return max(1, TOGETHER_NUMBERS // numbers)

    def _groups(self, order: Tensor) -> list[_Group]:
        steps = batches(order, self.batch_size)
        starts = range(0, len(steps), self._together)
        return [_Group.of(steps[start : start + self._together], self.ranks) for start in starts]

    def _examples(self, positions: Tensor) -> Tensor:
        """Those of every network, one network after another."""
        chosen = [indices[positions] for indices in self.indices]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen)

    def _prepared(self, rows: list[Tensor], labels: Tensor, views: Tensor, raw: Tensor) -> list[Batch]:
        raw = self.view.apply(raw, views)
        inputs = self.normalization(raw)
        if len(self.indices) > 1:
            shape = (len(self.indices), len(rows[0]))
            return [Batch(inputs.view(*shape, *inputs.shape[1:]), labels.view(shape), None, own=True)]
        sizes = [len(positions) for positions in rows]
        told: Sequence[Tensor | None] = [None] * len(rows)
        if self.targets is not None:
            told = self.targets.logits(torch.cat(rows), views, raw).split(sizes, dim=1)
        return list(map(Batch, inputs.split(sizes), labels.split(sizes), told))


class _Group(NamedTuple):
    """Consecutive batches that are prepared at once: the size of each, and the positions of this process's rows."""

    sizes: list[int]
    rows: list[Tensor]

    @classmethod
    def of(cls, steps: Sequence[Tensor], ranks: Ranks) -> _Group:
        return cls([len(step) for step in steps], [ranks.own(step) for step in steps])
