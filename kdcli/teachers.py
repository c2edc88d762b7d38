"""A teacher, one network or several, and its answers.

Shapes: M member networks, N examples, V views, B examples of a batch, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from kdcli.data.normalize import Normalization
from kdcli.data.order import generator
from kdcli.data.source import BATCH, Source
from kdcli.data.views import View
from kdcli.errors import DivergedError
from kdcli.losses import EnsembleMean, combine_members, permute_others

_PERMUTATION = 5


@dataclass(frozen=True)
class Teacher:
    """Trained networks that are asked and never changed: in evaluation mode, without gradients.

    Args:
        networks: The members, moved to the device they answer on.
        normalizations: Each member's own.
        ensemble: ``arithmetic`` or ``geometric`` mean of the members' distributions.
    """

    networks: Sequence[nn.Module]
    normalizations: Sequence[Normalization]
    ensemble: EnsembleMean

    def __post_init__(self) -> None:
        """Freeze the members."""
        for network in self.networks:
            network.eval().requires_grad_(False)

    # no_grad and not inference_mode: a loss on inference tensors could not save them for its backward pass.
    @torch.no_grad()
    def logits(self, raw: Tensor) -> Tensor:
        """What every member says of raw inputs ``(B, ...)``: logits ``(M, B, C)``, float32."""
        pairs = zip(self.networks, self.normalizations, strict=True)
        return torch.stack([network(normalization(raw)).float() for network, normalization in pairs])

    @property
    def at_once(self) -> int:
        """How many examples to ask about at once: a network may say that it wants more."""
        return max(getattr(network, "at_once", BATCH) for network in self.networks)

    def log_probs(self, source: Source, indices: Tensor) -> Tensor:
        """The combined distribution at temperature 1, as log-probabilities ``(N, C)`` on the CPU."""
        parts = [
            combine_members(self.logits(raw), 1.0, self.ensemble).log_softmax(-1).cpu()
            for raw in source.batches(indices.split(self.at_once))
        ]
        return _finite(torch.cat(parts))

    def sha256(self) -> str:
        """A hash of all members' tensors, names included."""
        return weights_sha256([network.state_dict() for network in self.networks])


def weights_sha256(states: Sequence[dict[str, Tensor]]) -> str:
    """SHA-256 over the names, types, shapes and bytes of networks' tensors, in order."""
    digest = hashlib.sha256()
    for state in states:
        for name, tensor in state.items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class TargetTable:
    """A teacher's logits for every (view, example) pair, asked once: shape ``(M, V * N, C)``, float32 or float16."""

    table: Tensor
    num_examples: int

    def logits(self, positions: Tensor, views: Tensor, inputs: Tensor) -> Tensor:
        """Logits ``(M, B, C)``; see engine.stream.Targets."""
        rows = views * self.num_examples + positions
        return self.table.index_select(1, rows).float()


def answers(teacher: Teacher, source: Source, indices: Tensor, view: View) -> Iterator[tuple[int, Tensor]]:
    """What a teacher says of every view of the examples at ``indices``; each example is fetched once.

    Yields:
        The first row of each part in a TargetTable, and its logits ``(M, b, C)`` on the device of the source.

    Raises:
        DivergedError: If an answer is not finite.
    """
    for part, raw in enumerate(source.batches(indices.split(teacher.at_once))):
        for number in range(view.count):
            seen = view.apply(raw, torch.full((len(raw),), number, device=raw.device))
            yield number * len(indices) + part * teacher.at_once, _finite(teacher.logits(seen))


@dataclass(frozen=True)
class LiveTargets:
    """A teacher that is asked in every step, where asking about every view first would cost more."""

    teacher: Teacher

    def logits(self, positions: Tensor, views: Tensor, inputs: Tensor) -> Tensor:
        """Logits ``(M, B, C)``; see engine.stream.Targets."""
        return self.teacher.logits(inputs)


Answers: TypeAlias = TargetTable | LiveTargets


@dataclass(frozen=True)
class PermutedTargets:
    """A teacher's answers with the classes that it does not choose in disorder (loss=dkpp).

    Each example has one permutation, whatever the epoch and the view; the members of an ensemble are permuted alike,
    so that their mean is.

    Args:
        targets: The answers as they are.
        keys: Of ``permutation_keys``, on the device of the answers.
        ensemble: The mean whose choice at temperature 1 stays in its place.
    """

    targets: Answers
    keys: Tensor
    ensemble: EnsembleMean

    def logits(self, positions: Tensor, views: Tensor, inputs: Tensor) -> Tensor:
        """Logits ``(M, B, C)``; see engine.stream.Targets."""
        said = self.targets.logits(positions, views, inputs)
        chosen = combine_members(said, 1.0, self.ensemble).argmax(-1)
        return permute_others(said, chosen, self.keys.index_select(0, positions))


def permutation_keys(num_examples: int, num_classes: int, data_seed: int) -> Tensor:
    """What orders each example's classes for ``losses.permute_others``: uniform numbers ``(N, C)`` on the CPU."""
    return torch.rand(num_examples, num_classes, generator=generator(_PERMUTATION, data_seed))


def _finite(answers: Tensor) -> Tensor:
    if not bool(answers.isfinite().all()):
        raise DivergedError(
            "the teacher's answers are not finite (NaN or infinity)",
            where="teacher",
            fix="choose another teacher; 'kd evaluate run=RUN' shows what this one says",
        )
    return answers
