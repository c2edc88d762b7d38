"""Views: deterministic augmentations that can be counted, so that what a teacher says of each can be kept.

A view of an example is a number; 0 is the example as it is. ``apply`` works on whole raw batches, on their device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kdcli.data import elastic
from kdcli.data.order import generator
from kdcli.data.types import Kind
from kdcli.errors import DataError, UsageError

VIEW_NAMES = ("none", "shift", "flip", "crop", "elastic")
_VIEW = 2


class View(Protocol):
    """A finite family of augmentations."""

    @property
    def name(self) -> str:
        """The family with its parameters: two views of one name are the same function."""

    @property
    def count(self) -> int:
        """How many different views an example has."""

    def draw(self, data_seed: int, epoch: int, num_examples: int) -> Tensor:
        """The view of each example in an epoch, int64 ``(num_examples,)`` in ``[0, count)``.

        It depends on the data seed, the epoch and the example's number only.
        """

    def apply(self, batch: Tensor, ids: Tensor) -> Tensor:
        """View ``ids[i]`` of ``batch[i]`` for the whole batch; shape, dtype and device stay."""


@dataclass(frozen=True)
class Identity:
    """Every example as it is; for tables the only view."""

    name: str = "none"
    count: int = 1

    def draw(self, data_seed: int, epoch: int, num_examples: int) -> Tensor:
        """Zeros."""
        return torch.zeros(num_examples, dtype=torch.int64)

    def apply(self, batch: Tensor, ids: Tensor) -> Tensor:
        """The batch itself."""
        return batch


@dataclass(frozen=True)
class Shift:
    """All ``(2n + 1)**2`` shifts of an image by up to ``n`` pixels, with zeros where nothing is shifted in."""

    pixels: int

    @property
    def name(self) -> str:
        """For two pixels ``shift-2``."""
        return f"shift-{self.pixels}"

    @property
    def count(self) -> int:
        """``(2n + 1)**2``."""
        return self._width**2

    @property
    def _width(self) -> int:
        return 2 * self.pixels + 1

    def offset(self, view: int) -> tuple[int, int]:
        """How far ``view`` moves an image down and to the right, in pixels."""
        down, right = divmod((view + self.count // 2) % self.count, self._width)
        return down - self.pixels, right - self.pixels

    def draw(self, data_seed: int, epoch: int, num_examples: int) -> Tensor:
        """Independent and uniform."""
        return _draw(self.count, data_seed, epoch, num_examples)

    def apply(self, batch: Tensor, ids: Tensor) -> Tensor:
        """Shift each image of ``(B, C, H, W)``.

        Each image gets a margin of zeros, and every place where an image-sized window could begin in that memory
        becomes a row of one strided tensor: the batch is then a single gather of rows.
        """
        num, channels, height, width = _image_shape(batch)
        margin = self.pixels
        padded = batch.new_zeros(num, channels, height + 2 * margin, width + 2 * margin)
        padded[:, :, margin : margin + height, margin : margin + width] = batch
        image, plane, row, _ = padded.stride()
        windows = padded.as_strided(
            ((num - 1) * image + 2 * margin * (row + 1) + 1, channels, height, width), (1, plane, row, 1)
        )
        cells = (ids.to(batch.device) + self.count // 2) % self.count
        corners = 2 * margin * (row + 1) - cells // self._width * row - cells % self._width
        return windows.index_select(0, corners + torch.arange(num, device=batch.device) * image)


@dataclass(frozen=True)
class Flip:
    """An image, and its mirror image."""

    name: str = "flip"
    count: int = 2

    def draw(self, data_seed: int, epoch: int, num_examples: int) -> Tensor:
        """Independent and uniform."""
        return _draw(self.count, data_seed, epoch, num_examples)

    def apply(self, batch: Tensor, ids: Tensor) -> Tensor:
        """Mirror the images of ``(B, C, H, W)`` whose view is 1, left to right."""
        _image_shape(batch)
        mirrored = (ids.to(batch.device) == 1).view(-1, 1, 1, 1)
        return torch.where(mirrored, batch.flip(3), batch)


@dataclass(frozen=True)
class Crop:
    """All shifts by up to ``n`` pixels, each also mirrored: ``2 * (2n + 1)**2`` views.

    The crop of a zero-padded image with random flips that CIFAR is trained with, one by one.
    """

    pixels: int

    @property
    def name(self) -> str:
        """For four pixels ``crop-4``."""
        return f"crop-{self.pixels}"

    @property
    def count(self) -> int:
        """``2 * (2n + 1)**2``."""
        return 2 * Shift(self.pixels).count

    def draw(self, data_seed: int, epoch: int, num_examples: int) -> Tensor:
        """Independent and uniform."""
        return _draw(self.count, data_seed, epoch, num_examples)

    def apply(self, batch: Tensor, ids: Tensor) -> Tensor:
        """Shift each image of ``(B, C, H, W)``, then mirror it where its view lies in the upper half."""
        shift = Shift(self.pixels)
        return Flip().apply(shift.apply(batch, ids % shift.count), ids // shift.count)


@dataclass(frozen=True)
class Elastic:
    """All shifts by up to ``n`` pixels, each with 256 elastic distortions, one of which changes nothing."""

    pixels: int

    @property
    def name(self) -> str:
        """For two pixels ``elastic-2``."""
        return f"elastic-{self.pixels}"

    @property
    def count(self) -> int:
        """``256 * (2n + 1)**2``."""
        return elastic.FIELDS * Shift(self.pixels).count

    def draw(self, data_seed: int, epoch: int, num_examples: int) -> Tensor:
        """Independent and uniform."""
        return _draw(self.count, data_seed, epoch, num_examples)

    def apply(self, batch: Tensor, ids: Tensor) -> Tensor:
        """Shift each image of ``(B, C, H, W)``, then distort it."""
        shift, ids = Shift(self.pixels), ids.to(batch.device)
        return elastic.distort(shift.apply(batch, ids % shift.count), ids // shift.count)


def make_view(name: str, pixels: int, kind: Kind = "image") -> View:
    """The view called ``name``, one of ``VIEW_NAMES``; shift, crop and elastic use ``pixels``.

    Raises:
        DataError: The examples are rows of a table, and the view is one of images.
        UsageError: There is no such view.
    """
    if name not in VIEW_NAMES:
        raise UsageError(f"unknown view {name!r}", where="dataset.views", fix=f"use one of {', '.join(VIEW_NAMES)}")
    if name == "none":
        return Identity()
    if kind == "table":
        raise DataError(f"rows of a table have no {name}", where="dataset.views", fix="use dataset.views=none")
    views: dict[str, View] = {"shift": Shift(pixels), "flip": Flip(), "crop": Crop(pixels), "elastic": Elastic(pixels)}
    return views[name]


def _draw(count: int, data_seed: int, epoch: int, num_examples: int) -> Tensor:
    return torch.randint(count, (num_examples,), generator=generator(_VIEW, data_seed, epoch))


def _image_shape(batch: Tensor) -> torch.Size:
    if batch.ndim != 4:
        raise ValueError(f"a batch of images is (B, C, H, W), got {tuple(batch.shape)}")
    return batch.shape
