"""The specialists' classes, from the predictions of a generalist whose confusions are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdcli.errors import UsageError
from kdcli.specialists import class_sets, membership, prediction_covariance

CONFUSED = ((0, 3, 6), (1, 7), (2, 4, 5))


def predictions(sets: tuple[tuple[int, ...], ...] = CONFUSED, examples: int = 800) -> Tensor:
    """Of a generalist that knows which set a class is in, and little more."""
    draw = torch.Generator().manual_seed(0)
    block = torch.empty(8, dtype=torch.int64)
    for number, classes in enumerate(sets):
        block[list(classes)] = number
    labels = torch.randint(8, (examples,), generator=draw)
    logits = 3.0 * (block[labels][:, None] == block) + torch.randn(examples, 8, generator=draw)
    return logits.double().softmax(1)


def test_the_covariance_is_that_of_its_definition() -> None:
    probabilities = predictions(examples=20)
    covariance = prediction_covariance(probabilities)
    rows = probabilities.tolist()
    means = [sum(column) / 20 for column in zip(*rows, strict=True)]
    for i in range(8):
        for j in range(8):
            expected = sum((row[i] - means[i]) * (row[j] - means[j]) for row in rows) / 20
            assert covariance[i, j].item() == pytest.approx(expected, rel=1e-10, abs=1e-15)


def test_single_precision_predictions_are_summed_in_double() -> None:
    covariance = prediction_covariance(predictions().float())
    assert covariance.dtype is torch.float64
    assert float(covariance.sum(1).abs().max()) < 1e-9


@pytest.mark.parametrize("shape", [(8,), (0, 8), (5, 0)])
def test_what_are_no_predictions_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have shape"):
        prediction_covariance(torch.zeros(shape))


@pytest.mark.parametrize("seed", range(5))
def test_classes_that_are_taken_for_one_another_share_a_specialist(seed: int) -> None:
    assert class_sets(prediction_covariance(predictions()), 3, seed=seed) == CONFUSED


def test_the_order_of_the_classes_does_not_matter() -> None:
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    found = class_sets(prediction_covariance(predictions()[:, order]), 3)
    named = sorted(tuple(sorted(order[list(classes)].tolist())) for classes in found)
    assert named == list(CONFUSED)


@pytest.mark.parametrize("specialists", [2, 5, 8])
def test_without_a_size_every_class_has_one_specialist(specialists: int) -> None:
    found = class_sets(prediction_covariance(predictions()), specialists)
    assert len(found) == specialists
    assert sorted(c for classes in found for c in classes) == list(range(8))


@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_a_size_takes_the_classes_nearest_to_each_centre(size: int) -> None:
    covariance = prediction_covariance(predictions())
    expected = []
    for classes in CONFUSED:
        centre = torch.stack([covariance[:, c] for c in classes]).mean(0)
        offsets = [(float((covariance[:, c] - centre).square().sum()), c) for c in range(8)]
        expected.append(tuple(sorted(c for _, c in sorted(offsets)[:size])))
    assert class_sets(covariance, 3, size=size) == tuple(sorted(expected))


def test_sets_of_a_size_overlap() -> None:
    covered = membership(class_sets(prediction_covariance(predictions()), 3, size=4), 8).sum(0)
    assert int(covered.sum()) == 12
    assert int(covered.max()) > 1


def test_membership_names_the_special_classes() -> None:
    mask = membership(CONFUSED, 8)
    assert [tuple(row.nonzero()[:, 0].tolist()) for row in mask] == list(CONFUSED)


@pytest.mark.parametrize(
    ("specialists", "size", "key"),
    [
        (1, None, "specialists.count"),
        (9, None, "specialists.count"),
        (3, 0, "specialists.size"),
        (3, 8, "specialists.size"),
    ],
)
def test_a_number_that_does_not_fit_the_classes_is_a_usage_error(specialists: int, size: int | None, key: str) -> None:
    with pytest.raises(UsageError) as error:
        class_sets(prediction_covariance(predictions()), specialists, size=size)
    assert error.value.where == key
