"""CIFAR-10 and CIFAR-100, through torchvision's classes, which compare every file with its published MD5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from kdcli.data.download import fetch
from kdcli.data.types import Dataset, Split
from kdcli.disk import cache_dir
from kdcli.errors import DataError


def cifar10(root: str | None = None) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images, 3x32x32 (Krizhevsky 2009).

    Args:
        root: The folder that holds ``cifar-10-batches-py``, or gets it; None: the cache.

    Raises:
        DataError: It is not there and cannot be downloaded, or it is damaged.
    """
    return _cifar("cifar10", "CIFAR10", "cifar-10-batches-py", root)


def cifar100(root: str | None = None) -> Dataset:
    """CIFAR-100: 50,000 training and 10,000 test images, 3x32x32 (Krizhevsky 2009).

    Args:
        root: The folder that holds ``cifar-100-python``, or gets it; None: the cache.

    Raises:
        DataError: It is not there and cannot be downloaded, or it is damaged.
    """
    return _cifar("cifar100", "CIFAR100", "cifar-100-python", root)


def _cifar(name: str, source: str, part: str, root: str | None) -> Dataset:
    from kdcli.models.torchvision_shim import import_torchvision

    folder = cache_dir() / name if root is None else Path(root)
    fetch(source, folder, part)
    read = getattr(import_torchvision().datasets, source)
    try:
        train, test = read(str(folder), train=True), read(str(folder), train=False)
    except RuntimeError as error:
        raise DataError(
            "a file of the dataset is missing or not the published one",
            where=str(folder / part),
            fix="remove this folder; the set is then downloaded again",
        ) from error
    return Dataset.of(name, "image", tuple(train.classes), as_split(train), as_split(test))


def as_split(source: Any) -> Split:
    """Whole tensors of a torchvision dataset with ``data``, uint8 ``(N, H, W, C)``, and ``targets``."""
    return Split(torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(source.targets))
