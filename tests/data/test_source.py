from __future__ import annotations

import pytest
import torch

from kdcli.data.source import TensorSource, check_split
from kdcli.data.types import Split
from kdcli.errors import DataError


def _split(labels: list[int]) -> Split:
    return Split(torch.zeros(len(labels), 2), torch.tensor(labels, dtype=torch.int64))


def test_gather_takes_the_raw_examples() -> None:
    inputs = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
    source = TensorSource(inputs, "cpu")
    assert len(source) == 6
    batch = source.gather(torch.tensor([5, 0, 5]))
    assert batch.dtype == torch.uint8
    assert batch[:, 0, 0, 0].tolist() == [20, 0, 20]


def test_batches_are_gathered_in_order() -> None:
    source = TensorSource(torch.arange(10.0).view(10, 1), "cpu")
    parts = [torch.tensor([3, 1]), torch.tensor([9]), torch.tensor([0, 2, 4])]
    found = [batch.flatten().tolist() for batch in source.batches(parts)]
    assert found == [[3.0, 1.0], [9.0], [0.0, 2.0, 4.0]]
    assert list(source.batches([])) == []


def test_batches_appear_on_the_device_of_the_source() -> None:
    source = TensorSource(torch.zeros(4, 2), "meta")
    assert source.gather(torch.tensor([1])).device.type == "meta"
    assert [batch.shape for batch in source.batches([torch.tensor([1, 2])])] == [(2, 2)]


def test_a_good_split_passes() -> None:
    check_split(_split([0, 1, 2, 1]), 3, "x train")
    check_split(_split([0, 2]), 3, "x test", every_class=False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "x train holds no examples"),
        ([0, 1, 3, 3], "2 of the 4 labels of x train are out of range, the first is 3"),
        ([0, -100, 1], "1 of the 3 labels of x train are out of range, the first is -100"),
        ([0, 0, 2], "1 of the 3 classes have no example among the 3 of x train: 1"),
    ],
)
def test_labels_that_cannot_be_trained_on_are_refused_with_counts(labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_split(_split(labels), 3, "x train")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    split = _split([0, 1, 0, 1])
    split.inputs[2, 1] = value
    with pytest.raises(DataError, match="1 of the 4 examples of x train .* the first is number 2"):
        check_split(split, 2, "x train")
