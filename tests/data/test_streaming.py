"""The same folder in memory and decoded batch by batch: the same data to the bit."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdcli.data import load
from kdcli.data.files import ImageFiles
from kdcli.data.imagefolder import imagefolder
from kdcli.data.normalize import Normalization
from kdcli.data.source import FolderSource, Source, TensorSource, make_source
from kdcli.data.types import Dataset, files_of
from kdcli.data.views import Shift
from kdcli.engine.stream import Stream
from kdcli.errors import DataError

Folder = Callable[..., Path]
SIDE = 8
LAYOUTS = {
    "one folder": (),
    "train": ("train",),
    "train and test": ("train", "test"),
    "train and val": ("train", "val"),
    "all three": ("train", "val", "test"),
}


def _read(root: Path, memory: str, **options: Any) -> Dataset:
    return imagefolder(str(root), SIDE, options.pop("channels", 3), memory=memory, **options)  # type: ignore[arg-type]


def _both(root: Path, **options: Any) -> tuple[Dataset, Dataset]:
    return _read(root, "whole", **options), _read(root, "stream", **options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_streamed_folder_is_the_folder_in_memory(folder: Folder, layout: str, channels: int) -> None:
    whole, streamed = _both(folder(*LAYOUTS[layout], per_class=5), channels=channels)
    assert isinstance(streamed.train.inputs, ImageFiles)
    assert streamed.fingerprint == whole.fingerprint
    assert (streamed.classes, streamed.input_shape) == (whole.classes, (channels, SIDE, SIDE))
    for name in ("train", "test"):
        one, other = getattr(whole, name), getattr(streamed, name)
        assert torch.equal(other.labels, one.labels)
        assert torch.equal(FolderSource(files_of(other), "cpu").gather(torch.arange(len(other))), one.inputs)
    if whole.validation is None:
        assert streamed.validation is None
    else:
        assert streamed.validation is not None
        assert torch.equal(streamed.validation, whole.validation)


def test_normalisation_of_any_part_is_the_same_to_the_bit(folder: Folder) -> None:
    whole, streamed = _both(folder())
    for part in (torch.arange(len(whole.train)), torch.tensor([7, 3, 30]), torch.tensor([0])):
        expected = Normalization.of(whole.train.subset(part), "image")
        assert Normalization.of(streamed.train.subset(part), "image") == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_tensor(folder: Folder, workers: int) -> None:
    root = folder()
    whole, streamed = _read(root, "whole"), _read(root, "stream", workers=workers)
    index_batches = list(torch.tensor([5, 5, 0, 47, *range(40)]).split(3)) + [torch.arange(48), torch.tensor([2])]
    assert isinstance(whole.train.inputs, Tensor)
    expected = list(TensorSource(whole.train.inputs, "cpu").batches(index_batches))
    found = list(make_source(streamed.train.inputs, "cpu").batches(index_batches))
    assert len(found) == len(expected)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert list(make_source(streamed.train.inputs, "cpu").batches([])) == []


def _stream(dataset: Dataset) -> Stream:
    source: Source = make_source(dataset.train.inputs, "cpu")
    indices, normalization = [torch.arange(4, 48)], Normalization((0.5,) * 3, (0.2,) * 3)
    return Stream(source, dataset.train.labels, indices, Shift(2), normalization, batch_size=7, data_seed=3)


@pytest.mark.parametrize("first_step", [0, 4])
def test_an_epoch_is_the_same_from_any_step(folder: Folder, first_step: int) -> None:
    root = folder()
    expected = list(_stream(_read(root, "whole")).epoch(1, first_step))
    found = list(_stream(_read(root, "stream", workers=2)).epoch(1, first_step))
    assert len(found) == len(expected) == 7 - first_step
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)


def test_auto_holds_what_fits_and_streams_what_does_not(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(per_class=4)
    taken = 12 * 3 * SIDE * SIDE
    module = sys.modules[imagefolder.__module__]  # the package has the function by this name
    monkeypatch.setattr(module, "available_bytes", lambda: 4 * taken)
    assert isinstance(_read(root, "auto").train.inputs, Tensor)
    monkeypatch.setattr(module, "available_bytes", lambda: 4 * taken - 4)
    assert isinstance(_read(root, "auto").train.inputs, ImageFiles)
    assert isinstance(_read(root, "whole").train.inputs, Tensor)


def _cut(root: Path, number: int = 7) -> None:
    for path in sorted(root.rglob("*.png"))[:number]:
        path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("workers", [0, 2])
def test_all_broken_images_are_in_the_error_of_the_folder_in_memory(folder: Folder, workers: int) -> None:
    root = folder()
    _cut(root, 25)
    with pytest.raises(DataError) as expected:
        _read(root, "whole")
    with pytest.raises(DataError) as found:
        _read(root, "stream", workers=workers)
    assert found.value.what == expected.value.what
    assert "25 of 60 images" in found.value.what
    assert (found.value.where, found.value.fix) == (expected.value.where, expected.value.fix)


def test_a_few_broken_images_are_skipped(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    root = folder(per_class=67)
    _cut(root, 2)
    with caplog.at_level(logging.WARNING):
        whole, streamed = _both(root, on_error="skip")
    assert caplog.text.count("left out 2 of 201 images") == 2
    assert streamed.fingerprint == whole.fingerprint
    assert len(streamed.train) + len(streamed.test) == 199


def test_labels_are_checked_as_in_memory(folder: Folder) -> None:
    root = folder(per_class=3)
    (root / "dog").mkdir()
    with pytest.raises(DataError, match="1 of the 4 classes have no example .* 3"):
        load("imagefolder", {"root": str(root), "size": SIDE, "channels": 1, "memory": "stream"})


@pytest.mark.parametrize("change", ["replaced", "cut", "gone"])
def test_a_file_that_changes_while_it_is_trained_on_is_refused(folder: Folder, change: str) -> None:
    streamed = _read(folder(), "stream").train
    path = files_of(streamed).paths[3]
    content = path.read_bytes()
    path.unlink()
    if change != "gone":
        path.write_bytes(content[: 70 if change == "cut" else None])
    with pytest.raises(DataError, match="cannot be read any more") as caught:
        FolderSource(files_of(streamed), "cpu").gather(torch.arange(5))
    assert caught.value.where == str(path)
    FolderSource(files_of(streamed), "cpu").gather(torch.arange(3))
