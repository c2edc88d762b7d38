"""Raw examples on the device of the training, and the last look at a split before anything is trained on it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

import torch
from torch import Tensor

from kdcli.data.files import ImageFiles
from kdcli.data.types import Split
from kdcli.data.workers import Decoded, chunk_size, decoded
from kdcli.errors import DataError

BATCH = 250
"""Examples that networks are asked about at once: of 2,000, what lies between convolutions leaves a CPU's cache."""


class Source(Protocol):
    """The raw inputs of a split, which appear as batches on a device."""

    def __len__(self) -> int:
        """How many there are."""

    def gather(self, indices: Tensor) -> Tensor:
        """The examples at ``indices``, int64 ``(B,)``, as one raw batch."""

    def batches(self, index_batches: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """A raw batch for each of ``index_batches``, in this order; to be closed where it is not used to its end."""


def make_source(inputs: Tensor | ImageFiles, device: torch.device | str) -> Source:
    """The raw inputs of a split for a training on ``device``: held there whole, or decoded batch by batch."""
    return TensorSource(inputs, device) if isinstance(inputs, Tensor) else FolderSource(inputs, device)


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

    def batches(self, index_batches: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """A raw batch for each of ``index_batches``, in this order."""
        for indices in index_batches:
            yield self.gather(indices)


class FolderSource:
    """Images of a split, decoded when they are asked for.

    Args:
        files: The images.
        device: Where the batches appear.
    """

    def __init__(self, files: ImageFiles, device: torch.device | str) -> None:
        self._files = files
        self._device = torch.device(device)

    def __len__(self) -> int:
        return len(self._files)

    def gather(self, indices: Tensor) -> Tensor:
        """The examples at ``indices``, int64 ``(B,)``, as one raw batch."""
        (batch,) = self.batches([indices])
        return batch

    def batches(self, index_batches: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        """A raw batch for each of ``index_batches``, in this order; while one is used, the next ones are decoded.

        Raises:
            DataError: An image is not any more what was checked before the training.
            MachineError: A worker that decodes was killed.
        """
        if not index_batches:
            return
        # To the host once for all: each copy would wait for a GPU.
        batches = torch.cat(list(index_batches)).cpu().split([len(batch) for batch in index_batches])
        parts = [batch.split(chunk_size(self._files)) for batch in batches]
        chunks = [chunk.tolist() for batch in parts for chunk in batch]
        on_gpu = self._device.type == "cuda"
        with closing(decoded(self._files, chunks, pin=on_gpu)) as ahead:
            for batch in parts:
                pieces = [self._taken(next(ahead), chunk).to(self._device, non_blocking=on_gpu) for chunk in batch]
                yield torch.cat(pieces) if len(pieces) > 1 else pieces[0]

    def _taken(self, found: Decoded, chunk: Tensor) -> Tensor:
        for index, reason in zip(chunk.tolist(), found.reasons, strict=True):
            if reason is not None:
                raise DataError(
                    f"an image cannot be read any more: {reason}",
                    where=str(self._files.paths[index]),
                    fix="put back the file that was there, and go on with: kd resume",
                )
        return found.pixels


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
    if isinstance(split.inputs, Tensor) and split.inputs.is_floating_point():
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
