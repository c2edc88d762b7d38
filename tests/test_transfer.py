"""Transfer sets from their configuration: what is appended, what it is made of, and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from kdcli.build import Data, load_data
from kdcli.data import Dataset
from kdcli.data.source import TensorSource
from kdcli.errors import DataError, UsageError
from kdcli.losses import cross_entropy
from kdcli.schema import DistillStudent
from kdcli.schema.data import TrainingSet
from kdcli.synthetic import munge, nbe, random_cases
from kdcli.transfer import NO_LABEL

CPU = torch.device("cpu")
ORIGINALS = ("transfer.fraction=0.05", "transfer.seed=4")
Load = Callable[..., Data]


@pytest.fixture(scope="module")
def student(configure: Callable[..., Any]) -> Callable[..., DistillStudent]:
    def configured(*overrides: str) -> DistillStudent:
        config = configure("distill-student", "teacher=any", "alpha.value=1", "dataset=letter_p1", *overrides)
        assert isinstance(config, DistillStudent)
        return config

    return configured


@pytest.fixture(scope="module")
def loaded(student: Callable[..., DistillStudent]) -> Load:
    def load(*overrides: str, smoke: bool = False) -> Data:
        config = student(*overrides)
        return load_data(config.dataset, config.transfer, CPU, smoke=smoke, batch_size=config.batch_size)

    return load


def held(data: Data) -> Tensor:
    assert isinstance(data.source, TensorSource)
    return data.source.inputs


def inputs_of(dataset: Dataset) -> Tensor:
    assert isinstance(dataset.train.inputs, Tensor)
    return dataset.train.inputs


def test_the_cases_follow_the_training_split_and_have_no_label(loaded: Load) -> None:
    data = loaded(*ORIGINALS, "transfer=munge", "transfer.cases=300")
    plain = loaded(*ORIGINALS)
    assert len(plain.transfer) == 200
    assert data.transfer.tolist() == plain.transfer.tolist() + list(range(5000, 5300))
    assert torch.equal(held(data)[:5000], held(plain))
    assert torch.equal(data.labels[:5000], plain.labels)
    assert data.labels[5000:].tolist() == [NO_LABEL] * 300
    assert (data.num_cases, plain.num_cases) == (300, 0)


def test_all_else_is_that_of_the_real_examples(loaded: Load) -> None:
    data, plain = loaded(*ORIGINALS, "transfer=random", "transfer.cases=999"), loaded()
    assert data.train.tolist() == plain.train.tolist() == list(range(4000))
    assert data.val.tolist() == plain.val.tolist() == list(range(4000, 5000))
    assert data.normalization.mean == pytest.approx(held(plain)[:4000].double().mean(0).tolist())
    assert data.normalization.std == pytest.approx(held(plain)[:4000].double().std(0, correction=0).tolist())
    assert data.dataset.fingerprint == plain.dataset.fingerprint == plain.fingerprint
    assert torch.equal(data.test_labels, plain.test_labels)


MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "munge": lambda rows: munge(rows, (), 250, p=0.3, s=2.0, seed=4),
    "random": lambda rows: random_cases(rows, 250, seed=4),
    "nbe": lambda rows: nbe(rows, (), 250, seed=4),
}


@pytest.mark.parametrize("kind", MADE)
def test_the_cases_are_made_of_the_selected_examples(loaded: Load, kind: str) -> None:
    settings = ("transfer.p=0.3", "transfer.s=2") if kind == "munge" else ()
    data = loaded(*ORIGINALS, f"transfer={kind}", "transfer.cases=250", "transfer.omit=[1]", *settings)
    originals = held(data)[data.transfer[:-250]]
    assert 190 < len(originals) < 200  # 3 % are of the class that is left out
    assert set(data.labels[data.transfer].tolist()) == {0, NO_LABEL}
    assert torch.equal(held(data)[5000:], MADE[kind](originals))


def test_the_originals_can_be_left_out(loaded: Load) -> None:
    data = loaded(*ORIGINALS, "transfer=munge", "transfer.cases=300", "transfer.keep_original=false")
    assert data.transfer.tolist() == list(range(5000, 5300))
    both = loaded(*ORIGINALS, "transfer=munge", "transfer.cases=300")
    assert torch.equal(held(data), held(both))


@pytest.mark.parametrize("kind", ["munge", "nbe"])
def test_nominal_attributes_of_a_csv_keep_their_codes(loaded: Load, kind: str, tmp_path: Path) -> None:
    lines = [f"{i / 7:.3f},{'abcdefgh'[i * 5 % 8]},{'yes' if i % 3 else 'no'}" for i in range(120)]
    (tmp_path / "table.csv").write_text("size,shape,class\n" + "\n".join(lines) + "\n")
    csv = ("dataset=csv", f"dataset.path={tmp_path}/table.csv", "dataset.target=class")
    noisy = ("transfer.p=1", "transfer.s=0.5") if kind == "munge" else ()
    data = loaded(*csv, f"transfer={kind}", "transfer.cases=200", *noisy)
    size, shape = held(data)[len(data.dataset.train) :].unbind(1)
    assert set(shape.tolist()) <= set(range(8))
    assert len(set(shape.tolist())) > 4
    assert set(size.tolist()) - set(inputs_of(data.dataset)[:, 0].tolist()), "a quantity gets new values"


def test_cases_of_images_are_images(loaded: Load) -> None:
    few = ("transfer=munge", "transfer.fraction=0.001", "transfer.cases=500")
    data = loaded("dataset=mnist", "dataset.views=shift", *few)
    images = held(data)
    assert (images.dtype, images.shape) == (torch.uint8, (60_500, 1, 28, 28))
    drawn = data.view.draw(3, 5, len(images))
    assert torch.equal(drawn[:60_000], data.view.draw(3, 5, 60_000)), "the views of real images stay"
    assert int(drawn[60_000:].max()) == 24


SETTINGS = (
    (),
    ("transfer.p=0.4",),
    ("transfer.s=4",),
    ("transfer.seed=5",),
    ("transfer.cases=301",),
    ("transfer.fraction=0.06",),
    ("transfer.omit=[1]",),
)


def test_the_fingerprint_knows_everything_that_decides_the_cases(loaded: Load) -> None:
    """It is part of the key of the teacher's answers."""
    munged = [loaded(*ORIGINALS, "transfer=munge", "transfer.cases=300", *more).fingerprint for more in SETTINGS]
    kinds = [loaded(*ORIGINALS, f"transfer={kind}", "transfer.cases=300").fingerprint for kind in ("random", "nbe")]
    found = [*munged, *kinds, loaded(*ORIGINALS).fingerprint]
    assert len(set(found)) == len(SETTINGS) + 3
    assert loaded(*ORIGINALS, "transfer=munge", "transfer.cases=300").fingerprint == munged[0]


def test_a_smoke_run_makes_few_cases(loaded: Load) -> None:
    data = loaded("transfer=munge", "transfer.cases=1000000", "batch_size=30", smoke=True)
    assert data.transfer.tolist() == [*range(60), *range(5000, 5060)]


def test_a_loss_that_looks_at_the_label_of_a_case_fails() -> None:
    with pytest.raises((IndexError, RuntimeError)):
        cross_entropy(torch.zeros(1, 2, 3), torch.tensor([1, NO_LABEL]), 0.0)


def test_what_takes_a_while_is_announced(student: Callable[..., DistillStudent]) -> None:
    said: list[str] = []
    config = student(*ORIGINALS, "transfer=munge", "transfer.cases=2000")
    load_data(config.dataset, config.transfer, CPU, smoke=False, batch_size=1, say=said.append)
    assert said == ["making 2,000 synthetic cases of 200 examples"]
    plain = TrainingSet(kind="training_set")
    load_data(config.dataset, plain, CPU, smoke=False, batch_size=1, say=said.append)
    assert len(said) == 1


def test_what_cases_cannot_be_made_of_is_refused(loaded: Load) -> None:
    with pytest.raises(UsageError, match="there is no class 2"):
        loaded("transfer=munge", "transfer.only=[2]")
    with pytest.raises(DataError, match="the transfer set is empty"):
        loaded("transfer=nbe", "transfer.omit=[0,1]")
    with pytest.raises(DataError, match="MUNGE needs a neighbour") as caught:
        loaded("transfer=munge", "transfer.fraction=0.0003")
    assert caught.value.exit_code == 3


def test_streamed_images_are_refused(loaded: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in range(24):
        path = tmp_path / "images" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (10 * number, 0, 0)).save(path)
    words = ("dataset=imagefolder", f"dataset.root={tmp_path}/images", "dataset.size=8", "transfer=munge")
    with pytest.raises(DataError, match="decoded when they are needed") as caught:
        loaded(*words, "dataset.memory=stream")
    assert caught.value.where == "transfer, dataset.memory"
    assert loaded(*words, "dataset.memory=whole", "transfer.cases=10").num_cases == 10
