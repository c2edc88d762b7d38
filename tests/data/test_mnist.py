from __future__ import annotations

import gzip
import hashlib
import shutil
import struct
from pathlib import Path

import pytest
import torch

from kdcli.data import load
from kdcli.data.mnist import CLOTHES, SHIPPED, SYSTEM, fashion_mnist
from kdcli.errors import DataError

PUBLISHED_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.mark.parametrize("name", PUBLISHED_MD5)
def test_shipped_files_have_the_published_md5(name: str) -> None:
    content = gzip.decompress((SHIPPED / f"{name}.gz").read_bytes())
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == PUBLISHED_MD5[name]


def test_mnist_is_all_70000_digits() -> None:
    dataset = load("mnist", {})
    assert (dataset.kind, dataset.input_shape, len(dataset.classes)) == ("image", (1, 28, 28), 10)
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    assert dataset.train.inputs.dtype == torch.uint8
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.test.labels.bincount()[3] == 1010  # Hinton 2015, sec. 3
    assert dataset.validation is None


def test_tensors_hold_the_bytes_of_the_files() -> None:
    content = gzip.decompress((SHIPPED / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = load("mnist", {}).test.inputs
    for image, row, column in ((0, 7, 6), (9_999, 14, 14), (123, 27, 27)):
        assert int(images[image, 0, row, column]) == content[16 + image * 784 + row * 28 + column]


def _write_set(folder: Path, num_labels: int = 3) -> None:
    folder.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        images = struct.pack(">4B3I", 0, 0, 8, 3, 3, 2, 2) + bytes(range(12))
        labels = struct.pack(">4BI", 0, 0, 8, 1, num_labels) + bytes(range(num_labels))
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


@pytest.mark.parametrize("layout", [".", "FashionMNIST/raw"])
def test_fashion_mnist_is_read_from_root(tmp_path: Path, layout: str) -> None:
    _write_set(tmp_path / "set" / layout)
    dataset = fashion_mnist(str(tmp_path / "set"))
    assert dataset.train.inputs.tolist() == torch.arange(12).view(3, 1, 2, 2).tolist()
    assert dataset.test.labels.tolist() == [0, 1, 2]
    assert dataset.classes == CLOTHES


def test_images_without_their_labels_are_refused(tmp_path: Path) -> None:
    _write_set(tmp_path / "set", num_labels=2)
    with pytest.raises(DataError, match=r"\(3, 2, 2\) do not go with labels of shape \(2,\)"):
        fashion_mnist(str(tmp_path / "set"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    _write_set(tmp_path / "set")
    damaged = tmp_path / "set" / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    with pytest.raises(DataError) as caught:
        fashion_mnist(str(tmp_path / "set"))
    assert caught.value.where == str(damaged)


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_found_where_debian_puts_it() -> None:
    dataset = load("fashion_mnist", {"root": None})
    assert dataset.train.labels.bincount().tolist() == [6_000] * 10
    assert dataset.test.labels.bincount().tolist() == [1_000] * 10


def test_a_root_wins_over_the_system(tmp_path: Path) -> None:
    _write_set(tmp_path / "set")
    assert len(fashion_mnist(str(tmp_path / "set")).train) == 3
    shutil.rmtree(tmp_path / "set")
