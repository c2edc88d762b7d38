"""``kd data show``: what a network would be given in its first epoch, and how many examples of each class there are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.build import Data, build_bank, build_fit, load_data, pick_device
from kdcli.engine.ranks import ALONE, among
from kdcli.report.samples import ColumnRange
from kdcli.schema import Training

MOST = 64


@dataclass(frozen=True, eq=False)
class Samples:
    """A look at a dataset as a training would see it.

    Args:
        dataset: Its name.
        view: The augmentation.
        classes: Their names.
        counts: How many examples of each class are in each part.
        images: uint8 ``(N, C, H, W)``, as they come in the first epoch; None for rows of a table.
        labels: Their classes, ``(N,)``.
        columns: Of a table; empty for images.
    """

    dataset: str
    view: str
    classes: tuple[str, ...]
    counts: Mapping[str, list[int]]
    images: Tensor | None
    labels: Tensor
    columns: list[ColumnRange]


@among(ALONE)
def look(config: Training) -> Samples:
    """Load the data that a configuration names, and take the first examples of the very stream that is trained on."""
    device = pick_device("cpu")
    data = load_data(config.dataset, config.transfer, device, smoke=False, batch_size=config.batch_size)
    images, labels = _first(config, data)
    is_image = data.dataset.kind == "image"
    return Samples(
        dataset=data.dataset.name,
        view=data.view.name,
        classes=data.dataset.classes,
        counts=_counts(data),
        images=images if is_image else None,
        labels=labels,
        columns=[] if is_image else _columns(data),
    )


def _first(config: Training, data: Data) -> tuple[Tensor, Tensor]:
    """The first batch of the first epoch as it was before it was normalised, and its labels."""
    fit = build_fit([config], data, build_bank([config], data), None)
    with closing(fit.stream.epoch(0)) as batches:
        batch = next(batches)
    mean, std = (torch.tensor(numbers) for numbers in (data.normalization.mean, data.normalization.std))
    inputs = batch.inputs[:MOST]
    if inputs.ndim != 4:
        return inputs, batch.labels[:MOST]
    pixels = 255 * (inputs * std.view(-1, 1, 1) + mean.view(-1, 1, 1))
    return pixels.round().clamp(0, 255).to(torch.uint8), batch.labels[:MOST]


def _counts(data: Data) -> dict[str, list[int]]:
    labels = data.labels.cpu()
    parts = {
        "training": labels[data.train],
        "transfer": labels[data.transfer],
        "validation": labels[data.val],
        "test": data.test_labels,
    }
    return {name: part.bincount(minlength=data.num_classes).tolist() for name, part in parts.items()}


def _columns(data: Data) -> list[ColumnRange]:
    rows = data.source.gather(data.train).double()
    return [
        ColumnRange(
            number=number,
            low=float(column.min()),
            mean=float(column.mean()),
            high=float(column.max()),
            deviation=float(column.std()) if len(column) > 1 else 0.0,
            categories=len(column.unique()) if number in data.dataset.nominal else None,
        )
        for number, column in enumerate(rows.T)
    ]
