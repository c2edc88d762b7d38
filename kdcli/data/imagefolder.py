"""A dataset from any folder of images, one folder a class."""

from __future__ import annotations

import itertools
import logging
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from kdcli.data.split import cut_test
from kdcli.data.types import Dataset, Split
from kdcli.errors import DataError

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_KNOWN = ", ".join(sorted(EXTENSIONS))
MAX_SKIPPED = 0.01
# By content, whatever the name says: PIL knows formats that start other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_SHOWN = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Form:
    """What every image is made into, and what happens to those that cannot be read."""

    size: int
    channels: Literal[1, 3]
    on_error: Literal["fail", "skip"]


def imagefolder(
    root: str,
    size: int,
    channels: Literal[1, 3],
    test_fraction: float = 0.2,
    seed: int = 0,
    on_error: Literal["fail", "skip"] = "fail",
) -> Dataset:
    """Images in torchvision's layout; labels follow the sorted names of the classes.

    Args:
        root: Holds ``train/CLASS/*`` and ``test/CLASS/*``. ``val/CLASS/*`` is the validation part, or the test part
            where there is no ``test``. Without ``train`` it holds ``CLASS/*``.
        size: Every image is upright by its EXIF tag, its shorter side scaled to ``size``, and the middle cut out.
        channels: 1 for grey, 3 for colour.
        test_fraction: The part of every class that is cut off for testing where there is no folder for it.
        seed: What that part is drawn by.
        on_error: Whether images that cannot be read are an error, or are left out, up to 1 % of them.

    Raises:
        DataError: Images cannot be read (all of them are found before it is raised), there are no two classes, or the
            parts have different classes.
    """
    top, form = Path(root), _Form(size, channels, on_error)
    parts = _parts(top)
    classes = _classes(parts["train"])
    for folder in parts.values():
        _check_same(folder, classes)
    splits = _read(top, list(parts.values()), classes, form)
    return _assemble(classes, dict(zip(parts, splits, strict=True)), test_fraction, seed)


def _assemble(classes: tuple[str, ...], splits: dict[str, Split], test_fraction: float, seed: int) -> Dataset:
    """Decide what is tested on: ``test``, else ``val``, else a part that is cut from ``train``."""
    train, validation = splits["train"], None
    if "test" not in splits:
        train, test = (train, splits["val"]) if "val" in splits else cut_test(train, test_fraction, seed)
    else:
        test = splits["test"]
        if "val" in splits:
            both = (train, splits["val"])
            validation = torch.arange(len(both[0]), len(both[0]) + len(both[1]))
            train = Split(torch.cat([part.inputs for part in both]), torch.cat([part.labels for part in both]))
    return Dataset.of("imagefolder", "image", classes, train, test, validation=validation)


def _parts(top: Path) -> dict[str, Path]:
    """The folders of the parts; without ``train`` and ``test``, everything is in one part."""
    parts = {part: top / part for part in ("train", "val", "test") if (top / part).is_dir()}
    if "train" not in parts and "test" in parts:
        raise DataError("there is a folder test and no folder train", where=str(top), fix="add train/CLASS/*.png")
    return parts if "train" in parts else {"train": top}


def _classes(folder: Path) -> tuple[str, ...]:
    names = _folders(folder)
    if len(names) < 2:
        raise DataError(
            f"{len(names)} folders of classes, wanted at least 2",
            where=str(folder),
            fix="point dataset.root at a folder that holds train/CLASS/*.png, or CLASS/*.png",
        )
    return names


def _folders(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    except OSError as error:
        raise DataError(
            f"cannot list the folder: {error.strerror}", where=str(folder), fix="set dataset.root to a folder of images"
        ) from error


def _check_same(folder: Path, classes: tuple[str, ...]) -> None:
    differing = sorted(set(_folders(folder)) ^ set(classes))
    if differing:
        raise DataError(
            f"its classes are not those of train: {', '.join(map(repr, differing[:_SHOWN]))}",
            where=str(folder),
            fix="give all parts the same folders of classes",
        )


def _read(top: Path, folders: Sequence[Path], classes: tuple[str, ...], form: _Form) -> list[Split]:
    """Decode the images of all parts, in the order of part, class and path."""
    found = [
        (path, label, part)
        for part, folder in enumerate(folders)
        for label, name in enumerate(classes)
        for path in _images(folder / name)
    ]
    if not found:
        raise DataError(
            f"no images in the folders of {len(classes)} classes", where=str(top), fix=f"put {_KNOWN} files there"
        )
    paths = [path for path, _, _ in found]
    pixels, reasons = _decode_all(paths, form)
    labels, parts = torch.tensor([(label, part) for _, label, part in found]).unbind(1)
    if any(reasons):
        _refuse_or_skip(top, paths, reasons, form.on_error)
        readable = torch.tensor([why is None for why in reasons])
        pixels, labels, parts = pixels[readable], labels[readable], parts[readable]
    sizes = parts.bincount(minlength=len(folders)).tolist()
    return list(map(Split, torch.split(pixels, sizes), torch.split(labels, sizes)))


def _decode_all(paths: Sequence[Path], form: _Form) -> tuple[Tensor, list[str | None]]:
    """Pixels of every image, and what is wrong with it, None where nothing is."""
    pixels = torch.zeros(len(paths), form.channels, form.size, form.size, dtype=torch.uint8)
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return pixels, list(pool.map(_decode_into, pixels, paths, itertools.repeat(form)))


def _images(folder: Path) -> list[Path]:
    """The images of a class, at any depth; files of other kinds, and hidden ones, are not among them."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS and path.name[0] != "." and path.is_file()
    )


def _decode_into(row: Tensor, path: Path, form: _Form) -> str | None:
    """Decode one image into ``row``, uint8 ``(C, size, size)``, or return what is wrong with it."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            pixels = _decode(image, form)
    except Exception as error:  # a damaged file makes PIL raise nearly anything
        return f"{type(error).__name__}: {error}"
    row.copy_(torch.from_numpy(pixels).view(form.size, form.size, form.channels).permute(2, 0, 1))
    return None


def _decode(image: Image.Image, form: _Form) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # PIL would clip 16 bits at 255
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.mode in ("I", "F"):
        raise ValueError(f"mode {upright.mode} has no range that could be scaled to 8 bits")
    converted = upright.convert("L" if form.channels == 1 else "RGB")
    # Cut first, then scaled, in one step: a very long image is never scaled whole.
    return np.array(ImageOps.fit(converted, (form.size, form.size), Image.Resampling.BILINEAR))


def _refuse_or_skip(top: Path, paths: Sequence[Path], reasons: Sequence[str | None], on_error: str) -> None:
    unreadable = [f"{path.relative_to(top)}: {why}" for path, why in zip(paths, reasons, strict=True) if why]
    if on_error == "skip" and len(unreadable) <= MAX_SKIPPED * len(paths):
        _log.warning("left out %d of %d images of %s that cannot be read", len(unreadable), len(paths), top)
        return
    more = len(unreadable) - _SHOWN
    shown = "\n".join([*unreadable[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])
    limit = f"; dataset.on_error=skip leaves out at most {MAX_SKIPPED:.0%}"
    raise DataError(
        f"{len(unreadable)} of {len(paths)} images cannot be read:\n{shown}",
        where=str(top),
        fix=f"replace or remove these files{limit}",
    )
