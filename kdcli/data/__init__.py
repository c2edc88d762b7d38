"""Datasets: whole tensors in memory, their views, their order and their parts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from kdcli.data.cifar import cifar10, cifar100
from kdcli.data.imagefolder import imagefolder
from kdcli.data.letter import letter, letter_p1, letter_p2
from kdcli.data.mnist import fashion_mnist, mnist
from kdcli.data.own import custom_data
from kdcli.data.source import check_split
from kdcli.data.table import csv_table
from kdcli.data.types import Dataset, Kind, Split
from kdcli.errors import UsageError

__all__ = ["DATASET_NAMES", "Dataset", "Kind", "Split", "load"]

_LOADERS: dict[str, Callable[..., Dataset]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "letter": letter,
    "letter_p1": letter_p1,
    "letter_p2": letter_p2,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "imagefolder": imagefolder,
    "csv": csv_table,
    "custom": custom_data,
}
DATASET_NAMES = tuple(_LOADERS)


def load(name: str, options: Mapping[str, Any]) -> Dataset:
    """The dataset called ``name``, one of ``DATASET_NAMES``, checked; decoded once a process for the same options.

    Args:
        name: Which dataset.
        options: Keyword arguments of its loader.

    Raises:
        UsageError: There is no such dataset, or it has no such option.
        DataError: It is missing, damaged, or cannot be trained on.
    """
    if name not in _LOADERS:
        close = get_close_matches(name, DATASET_NAMES, n=1)
        fix = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(DATASET_NAMES)}"
        raise UsageError(f"unknown dataset {name!r}", where="dataset", fix=fix)
    try:
        inspect.signature(_LOADERS[name]).bind(**options)
    except TypeError as error:
        raise UsageError(f"{name}: {error}", where="dataset", fix="see the options of this dataset") from error
    return _load(name, tuple(sorted((key, _hashable(value)) for key, value in options.items())))


@lru_cache(maxsize=4)
def _load(name: str, options: tuple[tuple[str, Any], ...]) -> Dataset:
    dataset = _LOADERS[name](**dict(options))
    check_split(dataset.train, len(dataset.classes), f"{name} train")
    check_split(dataset.test, len(dataset.classes), f"{name} test", every_class=False)
    return dataset


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((key, _hashable(value[key])) for key in sorted(value))
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
