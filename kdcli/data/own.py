"""A user's own data: a function that returns them as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from kdcli.data.types import Dataset, Kind, Split
from kdcli.errors import DataError
from kdcli.models.custom import load_factory

WHERE = "dataset.target"
KEYS = ("classes", "test", "train")
_MAX_NAME = 200


def custom_data(target: str, arguments: Iterable[tuple[str, Any]] = ()) -> Dataset:
    """What ``package.module:function`` returns when it is called with these keyword arguments.

    It returns a mapping with ``classes``, the names in the order of the labels, and ``train`` and ``test``, each a pair
    of inputs and labels: uint8 images ``(N, C, H, W)`` or float32 rows ``(N, D)``, and int64 ``(N,)``.

    Raises:
        UsageError: There is no such function.
        DataError: It fails, or returns something else.
    """
    function = load_factory(target, WHERE)
    try:
        found = function(**dict(arguments))
    except (Exception, SystemExit) as error:
        raise _refused(target, f"failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, Mapping) or sorted(map(str, found)) != list(KEYS):
        got = f"the keys {', '.join(map(str, found))}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise _refused(target, f"must return a mapping with {', '.join(KEYS)}, but returned {got}")
    classes = _classes(target, found["classes"])
    train, test = (_split(target, name, found[name]) for name in ("train", "test"))
    if train.inputs.shape[1:] != test.inputs.shape[1:] or train.inputs.dtype != test.inputs.dtype:
        raise _refused(target, f"has train {_described(train.inputs)} and test {_described(test.inputs)}")
    kind: Kind = "image" if train.inputs.dtype == torch.uint8 else "table"
    return Dataset.of("custom", kind, classes, train, test)


def _classes(target: str, names: object) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or len(names) < 2 or len(set(map(str, names))) != len(names):
        raise _refused(target, "must name two classes or more, each by another name")
    if not all(isinstance(name, str) and 0 < len(name) <= _MAX_NAME for name in names):
        raise _refused(target, f"must name classes by texts of 1 to {_MAX_NAME} characters")
    return tuple(names)


def _split(target: str, name: str, pair: object) -> Split:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
        raise _refused(target, f"must give {name} as a pair of tensors, inputs and labels")
    inputs, labels = pair
    if (inputs.dtype, inputs.dim()) not in ((torch.uint8, 4), (torch.float32, 2)):
        raise _refused(
            target, f"must give {name} as uint8 (N, C, H, W) or float32 (N, D), but gave {_described(inputs)}"
        )
    if labels.dtype != torch.int64 or labels.shape != inputs.shape[:1]:
        raise _refused(target, f"must label {name} by int64 ({len(inputs)},), but gave {_described(labels)}")
    if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
        raise _refused(target, f"has numbers in {name} that are not finite")
    return Split(inputs.detach().cpu().contiguous(), labels.detach().cpu().contiguous())


def _described(tensor: object) -> str:
    assert isinstance(tensor, Tensor)
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _refused(target: str, what: str) -> DataError:
    return DataError(f"{target} {what}", where=WHERE, fix="see docs/own_data.md for what such a function returns")
