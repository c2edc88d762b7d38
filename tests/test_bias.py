"""The bias of some classes, against loops over every number that could matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.bias import best_offset, matched_offset, moved


def drawn(seed: int, count: int = 60, classes: int = 5) -> tuple[Tensor, Tensor]:
    noise = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=noise)
    logits = torch.randn(count, classes, generator=noise) + 2 * torch.nn.functional.one_hot(labels, classes)
    logits[:, 3] -= 3
    return logits, labels


def errors(logits: Tensor, labels: Tensor, classes: list[int], offset: float) -> int:
    wrong = 0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        raised = [value + offset * (index in classes) for index, value in enumerate(row)]
        wrong += raised.index(max(raised)) != label
    return wrong


@pytest.mark.parametrize("classes", [[3], [1, 4], [0, 1, 2, 3]])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_offset_leaves_fewer_errors(seed: int, classes: list[int]) -> None:
    logits, labels = drawn(seed)
    best = best_offset(logits, labels, classes)
    fewest = min(errors(logits, labels, classes, step / 50) for step in range(-500, 501))
    assert errors(logits, labels, classes, best) <= fewest
    wrong = moved(logits, classes, best).argmax(1) != labels
    assert int(wrong.sum()) == errors(logits, labels, classes, best)


def test_a_class_that_was_pushed_down_is_raised_by_as_much() -> None:
    labels = torch.arange(5).repeat(200)
    logits = 2 * torch.nn.functional.one_hot(labels, 5).double()
    logits[:, 3] -= 3.5
    assert 1.5 < best_offset(logits, labels, [3]) < 5.5
    assert matched_offset(logits, [3], 0.2) == pytest.approx(3.5)


def test_where_nothing_is_to_gain_nothing_is_moved() -> None:
    labels = torch.arange(5)
    logits = 4 * torch.nn.functional.one_hot(labels, 5).double()
    assert best_offset(logits, labels, [2]) == 0


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("classes", [[3], [0, 2]])
def test_the_mean_probability_becomes_the_share(share: float, classes: list[int]) -> None:
    logits, _ = drawn(1)
    offset = matched_offset(logits, classes, share)
    total = 0.0
    for row in logits.double().tolist():
        raised = [math.exp(value + offset * (index in classes)) for index, value in enumerate(row)]
        total += sum(raised[index] for index in classes) / sum(raised)
    assert total / len(logits) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("classes", [[], [5], [-1], [0, 1, 2, 3, 4]])
def test_classes_that_cannot_be_moved_are_refused(classes: list[int]) -> None:
    logits, labels = drawn(0)
    with pytest.raises(ValueError, match="classes must be some of 0 to 4"):
        best_offset(logits, labels, classes)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\)"):
        matched_offset(logits, [1], 1.0)
