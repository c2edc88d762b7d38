"""The batches of an epoch: what the networks see, in an order and in views that depend on seeds alone.

Shapes: K networks, M teachers, B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kdcli.data.normalize import Normalization
from kdcli.data.order import batches, epoch_order
from kdcli.data.source import Source
from kdcli.data.views import View
from kdcli.engine.ranks import ALONE, Ranks


class Targets(Protocol):
    """What the teacher says of (example, view) pairs."""

    def logits(self, positions: Tensor, views: Tensor, inputs: Tensor) -> Tensor:
        """Logits ``(M, B, C)`` for positions in the transfer set, or for the raw views ``inputs`` themselves."""


@dataclass(frozen=True)
class Batch:
    """One step's data.

    ``inputs`` are normalised, ``(B, ...)``, and ``teacher_logits`` ``(M, B, C)``; where every network has examples of
    its own (``own``), ``(K, B, ...)`` and ``(M, K, B, C)``, and the labels ``(K, B)``.
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
        redraw: Gives the indices of an epoch, as many as ``indices``, where they are not the same in all of them.
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
    redraw: Callable[[int], Sequence[Tensor]] | None = None

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
        steps = batches(order, self.batch_size)[first_step:]
        parts = [self.ranks.own(positions) for positions in steps]
        indices = self.indices if self.redraw is None else self.redraw(epoch)
        examples = [_examples(indices, positions) for positions in parts]
        sizes, every = [len(each) for each in examples], torch.cat(examples)
        with closing(self.source.batches(examples)) as raws:
            told = zip(steps, parts, self.labels[every].split(sizes), views[every].split(sizes), raws, strict=True)
            for step, positions, labels, shown, raw in told:
                self.ranks.begin(len(step))
                yield self._batch(positions, labels, shown, raw)

    def _batch(self, positions: Tensor, labels: Tensor, views: Tensor, raw: Tensor) -> Batch:
        raw = self.view.apply(raw, views)
        inputs = self.normalization(raw)
        teacher = None if self.targets is None else self.targets.logits(positions, views, raw)
        if len(self.indices) == 1:
            return Batch(inputs, labels, teacher)
        shape = (len(self.indices), len(positions))
        told = None if teacher is None else teacher.unflatten(1, shape)
        return Batch(inputs.view(*shape, *inputs.shape[1:]), labels.view(shape), told, own=True)


def _examples(indices: Sequence[Tensor], positions: Tensor) -> Tensor:
    """Those of every network, one network after another."""
    chosen = [each[positions] for each in indices]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen)
