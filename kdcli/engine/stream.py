"""The batches of an epoch: what the networks see, in an order and in views that depend on seeds alone.

Shapes: K networks, M teachers, B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kdcli.data.normalize import Normalization
from kdcli.data.order import batches, epoch_order
from kdcli.data.source import TensorSource
from kdcli.data.views import View


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
        source: The raw inputs of the whole training set, on the device of the training.
        labels: Their labels, on that device.
        indices: Positions in ``source``: one tensor that all networks share, or one for each network, equally long.
        view: The augmentation.
        normalization: Of the networks that train, not of their teacher.
        batch_size: Examples a step.
        data_seed: Decides order and views.
        targets: The teacher's answers, if there is one.
        epoch_examples: How many examples make an epoch, where it is not all of them: another draw each time.
    """

    source: TensorSource
    labels: Tensor
    indices: Sequence[Tensor]
    view: View
    normalization: Normalization
    batch_size: int
    data_seed: int
    targets: Targets | None = None
    epoch_examples: int | None = None

    @property
    def num_examples(self) -> int:
        """Examples an epoch, for each network."""
        return min(len(self.indices[0]), self.epoch_examples or len(self.indices[0]))

    @property
    def batch_sizes(self) -> list[int]:
        """Examples of each step of an epoch."""
        return [len(batch) for batch in batches(torch.arange(self.num_examples), self.batch_size)]

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from ``first_step`` on."""
        order = epoch_order(self.data_seed, epoch, len(self.indices[0]))[: self.num_examples].to(self.labels.device)
        views = self.view.draw(self.data_seed, epoch, len(self.source)).to(self.labels.device)
        for positions in batches(order, self.batch_size)[first_step:]:
            yield self._batch(positions, views)

    def _batch(self, positions: Tensor, views: Tensor) -> Batch:
        if len(self.indices) > 1:
            return self._own_batch(positions, views)
        examples = self.indices[0][positions]
        chosen = views[examples]
        raw = self.view.apply(self.source.gather(examples), chosen)
        teacher = None if self.targets is None else self.targets.logits(positions, chosen, raw)
        return Batch(self.normalization(raw), self.labels[examples], teacher)

    def _own_batch(self, positions: Tensor, views: Tensor) -> Batch:
        examples = torch.cat([indices[positions] for indices in self.indices])
        raw = self.view.apply(self.source.gather(examples), views[examples])
        inputs = self.normalization(raw)
        shape = (len(self.indices), len(positions))
        return Batch(inputs.view(*shape, *inputs.shape[1:]), self.labels[examples].view(shape), None, own=True)
