"""From the ``transfer`` section to its examples: a part of the training set, or cases that are made of one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.data.files import ImageFiles
from kdcli.data.transfer import select_transfer
from kdcli.data.types import Dataset, Split, as_bytes
from kdcli.errors import DataError
from kdcli.schema import data as schema
from kdcli.synthetic import munge, nbe, random_cases

NO_LABEL = -1
"""The label of a case: no class, so that a loss that looks at it fails."""


@dataclass(frozen=True)
class TransferSet:
    """What the networks learn from.

    Attributes:
        split: The dataset's training split, and the cases after it.
        indices: The transfer set's positions in ``split``, int64 ``(M,)``.
        fingerprint: Of all that ``split`` holds: the dataset's own where there are no cases.
    """

    split: Split
    indices: Tensor
    fingerprint: str


def make_transfer_set(
    section: schema.Transfer, dataset: Dataset, train: Tensor, *, most: int | None, say: Callable[[str], None]
) -> TransferSet:
    """Select from the training part what ``section`` names, and make the cases that it asks for.

    Args:
        section: Of the configuration.
        dataset: Whose training split is meant.
        train: Its training part, int64 ``(N,)``.
        most: Take no more originals, and make no more cases; None: all of them.
        say: Told before cases are made, which may take a while.

    Raises:
        UsageError: A class is named that the dataset does not have.
        DataError: Nothing is left, or no cases can be made of what is.
    """
    chosen = select_transfer(
        dataset.train.labels, train,
        fraction=section.fraction, omit=section.omit, only=section.only, seed=section.seed,
    )[:most]  # fmt: skip
    if isinstance(section, schema.TrainingSet):
        return TransferSet(dataset.train, chosen, dataset.fingerprint)
    cases = make_cases(section, dataset, chosen, most, say)
    split = dataset.train.followed_by(Split(cases, torch.full((len(cases),), NO_LABEL)))
    made = torch.arange(len(dataset.train), len(split))
    indices = torch.cat([chosen, made]) if section.keep_original else made
    digest = hashlib.sha256(dataset.fingerprint.encode())
    digest.update(as_bytes(cases))
    return TransferSet(split, indices, digest.hexdigest())


def make_cases(
    section: schema.Synthetic, dataset: Dataset, chosen: Tensor, most: int | None, say: Callable[[str], None]
) -> Tensor:
    """The cases that are made of the examples at ``chosen``, in the shape and dtype of the dataset's inputs."""
    if isinstance(dataset.train.inputs, ImageFiles):
        raise DataError(
            "cases are made of images in memory, and these are decoded when they are needed",
            where="transfer, dataset.memory",
            fix="add dataset.memory=whole if the memory suffices, or use transfer=training_set",
        )
    inputs, number = dataset.train.inputs[chosen], min(section.cases, most or section.cases)
    say(f"making {number:,} synthetic cases of {len(inputs):,} examples")
    if isinstance(section, schema.Munge):
        return munge(inputs, dataset.nominal, number, p=section.p, s=section.s, seed=section.seed)
    if isinstance(section, schema.Nbe):
        return nbe(inputs, dataset.nominal, number, seed=section.seed)
    return random_cases(inputs, number, seed=section.seed)
