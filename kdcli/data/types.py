"""What a dataset is: two splits, whole tensors or files, the names of the classes, and a fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kdcli.data.files import ImageFiles, joined

Kind = Literal["image", "table"]


@dataclass(frozen=True, eq=False)
class Split:
    """Raw examples and their classes.

    Attributes:
        inputs: Images, uint8 ``(N, C, H, W)``, or their files where they do not fit into the memory; or the attributes
            of a table, float32 ``(N, D)``.
        labels: Class numbers, int64 ``(N,)``.
    """

    inputs: Tensor | ImageFiles
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> Split:
        """The examples at ``indices``, int64 ``(M,)``, in that order."""
        labels = self.labels.index_select(0, indices)
        if isinstance(self.inputs, Tensor):
            return Split(self.inputs.index_select(0, indices), labels)
        return Split(self.inputs.subset(indices), labels)

    def followed_by(self, other: Split) -> Split:
        """The examples of both, which are held in the same way."""
        labels = torch.cat([self.labels, other.labels])
        if isinstance(self.inputs, Tensor) and isinstance(other.inputs, Tensor):
            return Split(torch.cat([self.inputs, other.inputs]), labels)
        return Split(joined(files_of(self), files_of(other)), labels)


def files_of(split: Split) -> ImageFiles:
    """The images of a split that is not in memory."""
    assert isinstance(split.inputs, ImageFiles)
    return split.inputs


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset; what it holds is shared by all users of it and never written to.

    Attributes:
        name: The name it is configured by.
        kind: Whether its examples are images or rows of a table.
        classes: The name of each class; a label is a position in this tuple.
        train: What is trained on, the published validation part included.
        test: What is measured once, at the end.
        fingerprint: See :func:`fingerprint`.
        nominal: The attributes of a table that hold codes of categories; the others are quantities.
        validation: The published validation part, as indices into ``train``; None: cut one.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    train: Split
    test: Split
    fingerprint: str
    nominal: tuple[int, ...] = ()
    validation: Tensor | None = None

    @classmethod
    def of(
        cls,
        name: str,
        kind: Kind,
        classes: tuple[str, ...],
        train: Split,
        test: Split,
        *,
        nominal: tuple[int, ...] = (),
        validation: Tensor | None = None,
    ) -> Dataset:
        """Make a dataset and take its fingerprint."""
        digest = fingerprint(kind, classes, train, test)
        return cls(name, kind, classes, train, test, digest, nominal, validation)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: ``(C, H, W)`` or ``(D,)``."""
        return tuple(self.train.inputs.shape[1:])


def fingerprint(kind: Kind, classes: tuple[str, ...], train: Split, test: Split) -> str:
    """SHA-256, in hex, over the kind, the class names in order, and shape, dtype and bytes of all four tensors."""
    digest = begin_fingerprint(kind, classes, train, test)
    for tensor in (train.inputs, train.labels, test.inputs, test.labels):
        assert isinstance(tensor, Tensor), "files are surveyed"
        digest.update(as_bytes(tensor))
    return digest.hexdigest()


def begin_fingerprint(kind: Kind, classes: tuple[str, ...], train: Split, test: Split) -> hashlib._Hash:
    """The digest before any of the bytes."""
    parts = (train.inputs, train.labels, test.inputs, test.labels)
    layout = [(list(part.shape), str(part.dtype)) for part in parts]
    return hashlib.sha256(json.dumps([kind, classes, layout]).encode())


def as_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, in the order of its elements."""
    return tensor.cpu().contiguous().numpy().data
