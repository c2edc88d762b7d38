from __future__ import annotations

import time
from pathlib import Path

import pytest

from kdcli.data import DATASET_NAMES, load
from kdcli.data.mnist import mnist
from kdcli.errors import DataError, UsageError


def test_the_names_are_those_of_the_configuration() -> None:
    assert set(DATASET_NAMES) == {
        *("mnist", "fashion_mnist", "letter", "letter_p1", "letter_p2"),
        *("cifar10", "cifar100", "imagefolder", "csv", "custom"),
    }


def test_a_dataset_is_decoded_once(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,class\n" + "1,x\n2,y\n" * 10)
    options = {"path": str(path), "target": "class", "nominal": ["a"]}
    first = load("csv", options)
    assert first.name == "csv"
    assert load("csv", dict(reversed(options.items()))) is first
    assert load("csv", {**options, "nominal": None}) is not first


def test_unknown_names_and_options_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="unknown dataset 'minst'") as caught:
        load("minst", {})
    assert caught.value.fix == "did you mean 'mnist'?"
    with pytest.raises(UsageError, match="csv: missing a required argument: 'target'"):
        load("csv", {"path": "x.csv"})
    with pytest.raises(UsageError, match="mnist: got an unexpected keyword argument 'root'"):
        load("mnist", {"root": None})


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("a,class\n1,x\n2,y\n")
    test.write_text("a,class\n3,x\n")
    options = {"path": str(train), "target": "class", "test_path": str(test)}
    assert load("csv", options).test.labels.tolist() == [0]  # a test part may lack a class
    test.write_text("a,class\n")
    with pytest.raises(DataError, match="no rows"):
        load("csv", {**options, "seed": 1})


def test_mnist_loads_in_well_under_a_second() -> None:
    start = time.process_time()
    mnist()
    assert time.process_time() - start < 1.0  # about 0.25 s
