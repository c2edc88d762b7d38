from __future__ import annotations

import pytest
import torch

from kdcli.data.transfer import select_transfer
from kdcli.errors import DataError, UsageError

LABELS = torch.arange(200) % 4
INDICES = torch.arange(40, 200)


def test_the_default_is_the_whole_training_part() -> None:
    assert torch.equal(select_transfer(LABELS, INDICES), INDICES)


def test_a_fraction_is_taken_of_every_class_of_the_training_part() -> None:
    selected = select_transfer(LABELS, INDICES, fraction=0.25, seed=3)
    assert LABELS[selected].bincount().tolist() == [10, 10, 10, 10]
    assert set(selected.tolist()) <= set(INDICES.tolist())
    assert torch.equal(selected, selected.sort().values)
    assert torch.equal(selected, select_transfer(LABELS, INDICES, fraction=0.25, seed=3))
    assert not torch.equal(selected, select_transfer(LABELS, INDICES, fraction=0.25, seed=4))


def test_omitted_classes_are_left_out() -> None:
    selected = select_transfer(LABELS, INDICES, omit=[3])
    assert selected.tolist() == [i for i in range(40, 200) if i % 4 != 3]


def test_only_some_classes_are_kept() -> None:
    selected = select_transfer(LABELS, INDICES, only=(1, 2))
    assert selected.tolist() == [i for i in range(40, 200) if i % 4 in (1, 2)]
    assert select_transfer(LABELS, INDICES, only=[1, 2], omit=[1]).tolist() == [i for i in range(40, 200) if i % 4 == 2]


def test_the_fraction_comes_before_the_classes() -> None:
    both = select_transfer(LABELS, INDICES, fraction=0.5, only=[0], seed=1)
    fraction = select_transfer(LABELS, INDICES, fraction=0.5, seed=1)
    assert both.tolist() == [i for i in fraction.tolist() if i % 4 == 0]


@pytest.mark.parametrize(("key", "classes"), [("omit", [4]), ("omit", [0, -1]), ("only", [10])])
def test_classes_that_the_dataset_does_not_have_are_refused(key: str, classes: list[int]) -> None:
    with pytest.raises(UsageError, match=f"no class {classes[-1]}") as caught:
        select_transfer(LABELS, INDICES, **{key: classes})  # type: ignore[arg-type]
    assert caught.value.where == f"transfer.{key}"


def test_an_empty_transfer_set_is_refused() -> None:
    with pytest.raises(DataError, match="the transfer set is empty"):
        select_transfer(LABELS, INDICES, omit=[0, 1, 2, 3])
    with pytest.raises(DataError, match=r"fraction 0\.001 of 160 examples"):
        select_transfer(LABELS, INDICES, fraction=0.001)


def test_a_fraction_outside_its_range_is_misuse() -> None:
    for fraction in (0.0, 1.01):
        with pytest.raises(ValueError, match=r"\(0, 1\]"):
            select_transfer(LABELS, INDICES, fraction=fraction)
