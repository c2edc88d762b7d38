"""From image files to bytes of one form: upright, scaled, cut to a square, grey or colour."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

# By content, whatever the name says: PIL knows formats that start other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True)
class Form:
    """What every image is made into: ``size`` pixels a side, ``channels`` 1 for grey or 3 for colour."""

    size: int
    channels: Literal[1, 3]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, size, size)``."""
        return self.channels, self.size, self.size

    @property
    def num_bytes(self) -> int:
        """Size of one image."""
        return prod(self.shape)


def decode_all(paths: Sequence[Path], form: Form, threads: int) -> tuple[Tensor, list[str | None]]:
    """Decode images.

    Returns:
        Their pixels, uint8 ``(N, C, size, size)``, and what is wrong with each, None where nothing is.
    """
    pixels = torch.zeros(len(paths), *form.shape, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if threads == 1:
            return pixels, list(map(_decode_into, pixels, paths, itertools.repeat(form)))
        with ThreadPoolExecutor(threads) as pool:
            return pixels, list(pool.map(_decode_into, pixels, paths, itertools.repeat(form)))


def _decode_into(row: Tensor, path: Path, form: Form) -> str | None:
    """Decode one image into ``row``, uint8 ``(C, size, size)``, or return what is wrong with it."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            pixels = _decode(image, form)
    except Exception as error:  # a damaged file makes PIL raise nearly anything
        return f"{type(error).__name__}: {error}"
    row.copy_(torch.from_numpy(pixels).view(form.size, form.size, form.channels).permute(2, 0, 1))
    return None


def _decode(image: Image.Image, form: Form) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # PIL would clip 16 bits at 255
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.mode in ("I", "F"):
        raise ValueError(f"mode {upright.mode} has no range that could be scaled to 8 bits")
    converted = upright.convert("L" if form.channels == 1 else "RGB")
    # Cut first, then scaled, in one step: a very long image is never scaled whole.
    return np.array(ImageOps.fit(converted, (form.size, form.size), Image.Resampling.BILINEAR))
