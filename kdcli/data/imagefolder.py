"""A dataset from any folder of images, one folder a class: in memory, or decoded batch by batch."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kdcli.data.decode import Form, decode_all
from kdcli.data.files import image_files
from kdcli.data.memory import available_bytes
from kdcli.data.split import cut_test
from kdcli.data.survey import survey
from kdcli.data.types import Dataset, Split, files_of
from kdcli.errors import DataError

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_KNOWN = ", ".join(sorted(EXTENSIONS))
MAX_SKIPPED = 0.01
MEMORY_SHARE = 0.25
"""A set is held in memory up to this share of what is available: while it is parted, there are copies of it."""

_SHOWN = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """How a folder becomes a dataset; ``parts`` are the names of its parts."""

    top: Path
    parts: tuple[str, ...]
    classes: tuple[str, ...]
    form: Form
    test_fraction: float
    seed: int
    on_error: Literal["fail", "skip"]


@dataclass(frozen=True)
class _Found:
    """The images of all parts, in the order of part, class and path; labels and numbers of the parts ``(N,)``."""

    paths: Sequence[Path]
    labels: Tensor
    parts: Tensor

    def sizes(self, num_parts: int) -> list[int]:
        """How many images each part has."""
        return self.parts.bincount(minlength=num_parts).tolist()

    def without(self, unreadable: Mapping[Path, str]) -> _Found:
        """Those that can be read."""
        kept = torch.tensor([path not in unreadable for path in self.paths])
        paths = [path for path in self.paths if path not in unreadable]
        return _Found(paths, self.labels[kept], self.parts[kept])


def imagefolder(
    root: str,
    size: int,
    channels: Literal[1, 3],
    test_fraction: float = 0.2,
    seed: int = 0,
    on_error: Literal["fail", "skip"] = "fail",
    memory: Literal["auto", "whole", "stream"] = "auto",
    workers: int = 0,
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
        memory: Whether the set is held whole, or its images are decoded when a batch asks for them; ``auto`` holds it
            up to ``MEMORY_SHARE`` of the available memory. The data are the same to the bit.
        workers: How many processes decode what is not held; 0: this one.

    Raises:
        DataError: Images cannot be read (all of them are found before it is raised), there are no two classes, or the
            parts have different classes.
        MachineError: A worker was killed.
    """
    top = Path(root)
    parts = _parts(top)
    classes = _classes(parts["train"])
    for folder in parts.values():
        _check_same(folder, classes)
    plan = _Plan(top, tuple(parts), classes, Form(size, channels), test_fraction, seed, on_error)
    found = _find(plan, list(parts.values()))
    if memory == "stream" or (memory == "auto" and _is_large(len(found.paths) * plan.form.num_bytes)):
        return _streamed(plan, found, workers)
    return _whole(plan, found)


def _is_large(num_bytes: int) -> bool:
    return num_bytes > MEMORY_SHARE * available_bytes()


def _whole(plan: _Plan, found: _Found) -> Dataset:
    """Decode everything now."""
    pixels, reasons = decode_all(found.paths, plan.form, os.cpu_count() or 1)
    unreadable = {path: why for path, why in zip(found.paths, reasons, strict=True) if why is not None}
    if unreadable:
        _refuse_or_skip(plan, found, unreadable)
        pixels = pixels[torch.tensor([why is None for why in reasons])]
        found = found.without(unreadable)
    sizes = found.sizes(len(plan.parts))
    splits = map(Split, torch.split(pixels, sizes), torch.split(found.labels, sizes))
    train, test, validation = _assemble(plan, list(splits))
    return Dataset.of("imagefolder", "image", plan.classes, train, test, validation=validation)


def _streamed(plan: _Plan, found: _Found, workers: int) -> Dataset:
    """Look at everything now, and decode it when it is asked for."""
    whole = Split(image_files(found.paths, plan.form, workers), found.labels)
    indices = torch.split(torch.arange(len(whole)), found.sizes(len(plan.parts)))
    train, test, validation = _assemble(plan, [whole.subset(part) for part in indices])
    seen = survey(plan.classes, train, test)
    if seen.unreadable:
        _refuse_or_skip(plan, found, seen.unreadable)
        return _streamed(plan, found.without(seen.unreadable), workers)
    train = Split(replace(files_of(train), moments=seen.moments), train.labels)
    return Dataset("imagefolder", "image", plan.classes, train, test, seen.fingerprint, validation=validation)


def _assemble(plan: _Plan, splits: Sequence[Split]) -> tuple[Split, Split, Tensor | None]:
    """Decide what is tested on: ``test``, else ``val``, else a part that is cut from ``train``."""
    named = dict(zip(plan.parts, splits, strict=True))
    train = named["train"]
    if "test" not in named:
        parted = (train, named["val"]) if "val" in named else cut_test(train, plan.test_fraction, plan.seed)
        return *parted, None
    if "val" not in named:
        return train, named["test"], None
    both = train.followed_by(named["val"])
    return both, named["test"], torch.arange(len(train), len(both))


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


def _find(plan: _Plan, folders: Sequence[Path]) -> _Found:
    found = [
        (path, label, part)
        for part, folder in enumerate(folders)
        for label, name in enumerate(plan.classes)
        for path in _images(folder / name)
    ]
    if not found:
        raise DataError(
            f"no images in the folders of {len(plan.classes)} classes",
            where=str(plan.top),
            fix=f"put {_KNOWN} files there",
        )
    labels, parts = torch.tensor([(label, part) for _, label, part in found]).unbind(1)
    return _Found([path for path, _, _ in found], labels, parts)


def _images(folder: Path) -> list[Path]:
    """The images of a class, at any depth; files of other kinds, and hidden ones, are not among them."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS and path.name[0] != "." and path.is_file()
    )


def _refuse_or_skip(plan: _Plan, found: _Found, unreadable: Mapping[Path, str]) -> None:
    if plan.on_error == "skip" and len(unreadable) <= MAX_SKIPPED * len(found.paths):
        _log.warning("left out %d of %d images of %s that cannot be read", len(unreadable), len(found.paths), plan.top)
        return
    listed = [path for path in found.paths if path in unreadable]
    shown = [f"{path.relative_to(plan.top)}: {unreadable[path]}" for path in listed[:_SHOWN]]
    if len(listed) > _SHOWN:
        shown.append(f"and {len(listed) - _SHOWN} more")
    limit = f"; dataset.on_error=skip leaves out at most {MAX_SKIPPED:.0%}"
    raise DataError(
        f"{len(listed)} of {len(found.paths)} images cannot be read:\n" + "\n".join(shown),
        where=str(plan.top),
        fix=f"replace or remove these files{limit}",
    )
