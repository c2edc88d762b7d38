"""The batches of an epoch: what the networks see, in an order and in views that depend on seeds alone.

Shapes: K networks, M teachers, B examples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from kdcli.data.normalize import Normalization
from kdcli.data.order import batches, epoch_order, mix_seed
from kdcli.data.source import Source
from kdcli.data.views import View
from kdcli.engine.ranks import ALONE, Ranks

TOGETHER_NUMBERS = 2_400_000
"""Numbers of input that are prepared at once where batches are smaller: they stay in the processor's cache."""

_AGAIN = 23


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
class Group:
    """Batches that follow each other and were prepared at once.

    Attributes:
        first: The step of the first of them in its epoch.
        sizes: Examples of each, over all processes.
        batches: This process's rows of them.
        labels: Those of all batches, ``(N,)`` or ``(K, N)``.
        teacher_logits: ``(M, N, C)`` or ``(M, K, N, C)``.
    """

    first: int
    sizes: Sequence[int]
    batches: Sequence[Batch]
    labels: Tensor
    teacher_logits: Tensor | None


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
        epoch_examples: How many examples make an epoch, where it is not all of them once: fewer are another draw each
            time; where they are more, all are gone through again, in another order and other views.
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
        return self.epoch_examples or len(self.indices[0])

    @property
    def batch_sizes(self) -> list[int]:
        """Examples of each step of an epoch."""
        return [len(batch) for batch in batches(torch.arange(self.num_examples), self.batch_size)]

    def epoch(self, epoch: int, first_step: int = 0) -> Generator[Batch, None, None]:
        """The batches of an epoch, or this process's rows of them, from ``first_step`` on; see ``groups``."""
        with closing(self.groups(epoch, first_step)) as groups:
            for group in groups:
                yield from group.batches[max(first_step - group.first, 0) :]

    def groups(self, epoch: int, first_step: int = 0) -> Generator[Group, None, None]:
        """The batches of an epoch as they are prepared, from the group on that ``first_step`` is in.

        To be closed where it is not used to its end: other processes may be at work for it.
        """
        indices = self.indices if self.redraw is None else self.redraw(epoch)
        first_group = first_step // self._together
        groups, views = (self._groups(each)[first_group:] for each in self._order(epoch, indices))
        examples = [_examples(indices, torch.cat(group.rows)) for group in groups]
        sizes, every = [len(each) for each in examples], torch.cat(examples)
        seen = [torch.cat(group.rows).T.flatten() for group in views]
        with closing(self.source.batches(examples)) as raws:
            told = zip(groups, self.labels[every].split(sizes), seen, raws, strict=True)
            for number, (group, labels, shown, raw) in enumerate(told, first_group):
                yield self._prepared(number * self._together, group, labels, shown, raw)

    def _order(self, epoch: int, indices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The positions ``(E,)`` that an epoch goes through, and the views ``(E, N)`` of the N examples at each."""
        num, device = len(indices[0]), self.labels.device
        orders, views = [], []
        for again in range(-(-self.num_examples // num)):
            seed = mix_seed(_AGAIN, self.data_seed, again) if again else self.data_seed
            orders.append(epoch_order(seed, epoch, num).to(device))
            drawn = self.view.draw(seed, epoch, len(self.source)).to(device)
            views.append(torch.stack([drawn[each[orders[-1]]] for each in indices], dim=1))
        return torch.cat(orders)[: self.num_examples], torch.cat(views)[: self.num_examples]

    @cached_property
    def _together(self) -> int:
        """How many batches are prepared at once: small ones cost mostly the calls."""
        if len(self.indices) > 1:
            return 1
        numbers = self.source.gather(self.indices[0][:1]).numel() * self.batch_size
        return max(1, TOGETHER_NUMBERS // numbers)

    def _groups(self, order: Tensor) -> list[_Steps]:
        steps = batches(order, self.batch_size)
        starts = range(0, len(steps), self._together)
        return [_Steps.of(steps[start : start + self._together], self.ranks) for start in starts]

    def _prepared(self, first: int, steps: _Steps, labels: Tensor, views: Tensor, raw: Tensor) -> Group:
        raw = self.view.apply(raw, views)
        inputs = self.normalization(raw)
        told = None if self.targets is None else self.targets.logits(torch.cat(steps.rows), views, raw)
        if len(self.indices) > 1:
            shape = (len(self.indices), len(steps.rows[0]))
            own, labels = None if told is None else told.unflatten(1, shape), labels.view(shape)
            alone = Batch(inputs.view(*shape, *inputs.shape[1:]), labels, own, own=True)
            return Group(first, steps.sizes, [alone], labels, own)
        sizes = [len(positions) for positions in steps.rows]
        each: Sequence[Tensor | None] = [None] * len(sizes) if told is None else told.split(sizes, dim=1)
        split = list(map(Batch, inputs.split(sizes), labels.split(sizes), each))
        return Group(first, steps.sizes, split, labels, told)


def _examples(indices: Sequence[Tensor], positions: Tensor) -> Tensor:
    """Those of every network, one network after another."""
    chosen = [each[positions] for each in indices]
    return chosen[0] if len(chosen) == 1 else torch.cat(chosen)


class _Steps(NamedTuple):
    """Batches that are prepared at once: the size of each, and the positions of this process's rows."""

    sizes: list[int]
    rows: list[Tensor]

    @classmethod
    def of(cls, steps: Sequence[Tensor], ranks: Ranks) -> _Steps:
        return cls([len(step) for step in steps], [ranks.own(step) for step in steps])
