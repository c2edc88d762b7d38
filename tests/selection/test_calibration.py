"""Platt's calibration, held against scikit-learn's and against what a maximum of the likelihood must be."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from kdcli.selection.calibration import FOLDS, calibrated_out_of_fold, log_odds, platt


def scored(examples: int = 300, classes: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores that tell a little of the labels."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (examples,), generator=source)
    width = 1 if classes == 2 else classes
    known = labels[:, None].double() if classes == 2 else torch.nn.functional.one_hot(labels, classes).double()
    return 3 * known + 2 * torch.randn(examples, width, generator=source, dtype=torch.float64) - 40, labels


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_calibration_of_scikit_learn(classes: int) -> None:
    scores, labels = scored(classes=classes)
    model = LogisticRegression(max_iter=10_000).fit(scores.numpy(), labels.numpy())
    decided = torch.from_numpy(model.decision_function(scores.numpy()))
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid").fit(scores.numpy(), labels.numpy())
    expected = torch.from_numpy(theirs.predict_proba(scores.numpy()))
    found = platt(decided[:, None] if classes == 2 else decided, labels)
    torch.testing.assert_close(found(decided[:, None] if classes == 2 else decided), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("power", [1, 5])
def test_no_sigmoid_near_by_is_more_likely(power: int) -> None:
    """Also where a few scores lie far outside."""
    scores, labels = scored()
    scores = (scores + 40) ** power - 40
    fitted = platt(scores, labels)
    positive = int(labels.sum())
    targets = [(positive + 1) / (positive + 2) if label else 1 / (len(labels) - positive + 2) for label in labels]

    def loss(slope: float, offset: float) -> float:
        total = 0.0
        for score, target in zip(scores[:, 0].tolist(), targets, strict=True):
            logit = slope * score + offset
            total += max(logit, 0) + math.log1p(math.exp(-abs(logit))) - target * logit
        return total

    slope, offset = float(fitted.slopes), float(fitted.offsets)
    for change in (-1e-3, 1e-3):
        assert loss(slope * (1 + change), offset) > loss(slope, offset)
        assert loss(slope, offset * (1 + change)) > loss(slope, offset)


def test_scores_that_part_the_classes_give_the_softened_labels() -> None:
    scores = torch.tensor([[-1.0], [-1.0], [-1.0], [2.0]], dtype=torch.float64)
    said = platt(scores, torch.tensor([0, 0, 0, 1]))(scores)
    torch.testing.assert_close(said[:, 1], torch.tensor([1 / 5, 1 / 5, 1 / 5, 2 / 3], dtype=torch.float64))


def test_scores_that_say_nothing_give_the_share_of_the_class() -> None:
    scores = torch.zeros(10, 1, dtype=torch.float64)
    said = platt(scores, (torch.arange(10) < 4).long())(scores)
    expected = (4 * 5 / 6 + 6 * 1 / 8) / 10
    torch.testing.assert_close(said[:, 1], torch.full((10,), expected, dtype=torch.float64))


def test_the_scale_of_the_scores_does_not_matter() -> None:
    scores, labels = scored()
    torch.testing.assert_close(
        platt(1e6 * scores + 5, labels)(1e6 * scores + 5), platt(scores, labels)(scores), atol=1e-7, rtol=0
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_probabilities_are_a_distribution(classes: int) -> None:
    scores, labels = scored(classes=classes)
    said = platt(scores, labels)(scores)
    assert said.shape == (300, classes)
    assert bool(((said > 0) & (said < 1)).all())
    torch.testing.assert_close(said.sum(1), torch.ones(300, dtype=torch.float64))


def test_out_of_fold_no_example_is_calibrated_by_itself() -> None:
    scores, labels = scored(100)
    before = calibrated_out_of_fold(scores, labels)
    for index in (0, 17, 99):
        changed = labels.clone()
        changed[index] = 1 - labels[index]
        others = labels == labels[index]
        fold = int(others[:index].sum()) % FOLDS
        mates = [i for i in range(100) if int((labels[:i] == labels[i]).sum()) % FOLDS == fold]
        kept = torch.tensor([i for i in range(100) if i not in mates])
        expected = platt(scores[kept], labels[kept])(scores[[index]])
        torch.testing.assert_close(before[[index]], expected)


def test_log_odds_are_those_of_each_class_and_finite() -> None:
    two = torch.tensor([[0.2, 0.8], [1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        log_odds(two), torch.tensor([[math.log(4)], [math.log(0.001 / 0.999)]], dtype=torch.float64)
    )
    three = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    expected = torch.tensor([[math.log(1 / 4), math.log(3 / 7), 0.0]], dtype=torch.float64)
    torch.testing.assert_close(log_odds(three), expected)
