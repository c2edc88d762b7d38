"""Raw examples on the device of the training, and the last look at a split before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kdcli.data.types import Split
from kdcli.errors import DataError


class TensorSource:
    """All raw inputs of a split, held on a device.

    Args:
        inputs: Images or rows, ``(N, ...)``.
        device: Where they are held and where the batches appear.
    """

    def __init__(self, inputs: Tensor, device: torch.device | str) -> None:
        self.inputs = inputs.to(device)

    def __len__(self) -> int:
        return len(self.inputs)

    def gather(self, indices: Tensor) -> Tensor:
        """The examples at ``indices``, int64 ``(B,)``, as one raw batch."""
        return self.inputs.index_select(0, indices.to(self.inputs.device))

    def batches(self, index_batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """A raw batch for each of ``index_batches``; the indices go to the device once for all."""
        if not index_batches:
            return
        indices = torch.cat(list(index_batches)).to(self.inputs.device)
        for part in torch.split(indices, [len(batch) for batch in index_batches]):
            yield self.inputs.index_select(0, part)


def check_split(split: Split, num_classes: int, name: str, *, every_class: bool = True) -> None:
    """Refuse a split that cannot be trained on or measured.

    Args:
        split: What to look at.
        num_classes: Labels must lie in ``[0, num_classes)``.
        name: What the split is called in an error, ``mnist train`` for example.
        every_class: Whether each class must have an example, as in training.

    Raises:
        DataError: It is empty, a label is out of range, a class has no example, or a value is not finite.
    """
    if len(split) == 0:
        raise DataError(f"{name} holds no examples", where="dataset", fix="check where the dataset is read from")
    _check_labels(split.labels, num_classes, name, every_class)
    if split.inputs.is_floating_point():
        _check_finite(split.inputs, name)


def _check_labels(labels: Tensor, num_classes: int, name: str, every_class: bool) -> None:
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise DataError(
            f"{len(wrong)} of the {len(labels)} labels of {name} are out of range, the first is {int(wrong[0])}",
            where="dataset",
            fix=f"with {num_classes} classes the labels are 0 to {num_classes - 1}",
        )
    absent = (torch.bincount(labels, minlength=num_classes) == 0).nonzero().squeeze(1).tolist()
    if every_class and absent:
        raise DataError(
            f"{len(absent)} of the {num_classes} classes have no example among the {len(labels)} of {name}: "
            + ", ".join(map(str, absent[:20])),
            where="dataset",
            fix="add examples of them, or remove the classes",
        )


def _check_finite(inputs: Tensor, name: str) -> None:
    rows = (~inputs.isfinite()).flatten(1).any(1).nonzero().squeeze(1).tolist()
    if rows:
        raise DataError(
            f"{len(rows)} of the {len(inputs)} examples of {name} hold a value that is not finite, "
            f"the first is number {rows[0]}",
            where="dataset",
            fix="fill in or remove these values",
        )
