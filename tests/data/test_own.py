from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from kdcli.data import load
from kdcli.data.own import custom_data
from kdcli.errors import DataError, UsageError

IMAGES, LABELS = torch.zeros(4, 1, 5, 5, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
GOOD = {"classes": ["a", "b"], "train": (IMAGES, LABELS), "test": (IMAGES[:2], LABELS[:2])}


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module ``own_data_here`` whose ``give`` returns its ``value``."""
    module = ModuleType("own_data_here")
    module.value = GOOD  # type: ignore[attr-defined]
    module.give = lambda: module.value  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_data_here", module)
    return module


def test_images_and_rows_become_data_with_a_fingerprint_of_their_bytes(function: Any) -> None:
    images = custom_data("own_data_here:give")
    assert (images.kind, images.classes, images.input_shape) == ("image", ("a", "b"), (1, 5, 5))
    function.value = GOOD | {"train": (IMAGES + 1, LABELS)}
    assert custom_data("own_data_here:give").fingerprint != images.fingerprint
    rows = torch.randn(4, 3)
    function.value = {"classes": ("a", "b"), "train": (rows, LABELS), "test": (rows, LABELS)}
    assert custom_data("own_data_here:give").kind == "table"


def test_arguments_reach_the_function(function: Any) -> None:
    seen = {}

    def give(**arguments: object) -> object:
        seen.update(arguments)
        return GOOD

    function.give = give
    load("custom", {"target": "own_data_here:give", "arguments": {"size": 3, "names": ["x", "y"]}})
    assert seen == {"size": 3, "names": ("x", "y")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ["a"]}, "two classes or more"),
        ({"classes": ["a", "a"]}, "by another name"),
        ({"classes": ["a", 1]}, "by texts"),
        ({"classes": ["a", "x" * 201]}, "by texts"),
        ({"extra": 1}, "must return a mapping"),
        ({"train": IMAGES}, "a pair of tensors"),
        ({"train": (IMAGES.float(), LABELS)}, "uint8 (N, C, H, W) or float32 (N, D)"),
        ({"train": (IMAGES, LABELS.int())}, "must label train by int64 (4,)"),
        ({"train": (IMAGES, LABELS[:3])}, "must label train by int64 (4,)"),
        ({"test": (IMAGES[:, :, :4], LABELS)}, "train uint8 (4, 1, 5, 5) and test uint8 (4, 1, 4, 5)"),
        ({"test": (torch.full((4, 2), float("nan")), LABELS)}, "not finite"),
    ],
)
def test_anything_else_is_refused(function: Any, change: dict[str, object], said: str) -> None:
    function.value = GOOD | change
    with pytest.raises(DataError) as caught:
        custom_data("own_data_here:give")
    assert said in caught.value.what


def test_labels_out_of_range_are_refused_as_with_any_data(function: Any) -> None:
    function.value = GOOD | {"train": (IMAGES, LABELS + 1)}
    with pytest.raises(DataError, match="out of range"):
        load("custom", {"target": "own_data_here:give", "arguments": {}})


def test_what_fails_or_is_not_there_is_refused(function: Any) -> None:
    function.value = 3
    with pytest.raises(DataError, match="returned a int"):
        custom_data("own_data_here:give")
    function.give = lambda: 1 / 0
    with pytest.raises(DataError, match="ZeroDivisionError"):
        custom_data("own_data_here:give")
    with pytest.raises(UsageError) as caught:
        custom_data("own_data_here:nothing")
    assert caught.value.where == "dataset.target"
