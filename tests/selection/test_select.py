"""Ensemble selection, held against a literal version of the algorithm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdcli.selection.select import Hillclimb, draw_bags, select_ensemble

METRICS = ("rmse", "cross_entropy", "accuracy")


def library(models: int = 9, examples: int = 60, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Models that know the labels a little, some better than others."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (examples,), generator=source)
    knowledge = torch.rand(models, 1, 1, generator=source) * torch.nn.functional.one_hot(labels, classes)
    noise = torch.randn(models, examples, classes, generator=source, dtype=torch.float64)
    return (2 * knowledge + noise).softmax(-1), labels


def loss_of(members: list[int], predictions: list, labels: list[int], metric: str) -> float:
    """The metric of the mean of the members' predictions, example by example."""
    total = 0.0
    for i, label in enumerate(labels):
        classes = range(len(predictions[0][i]))
        mean = [sum(predictions[m][i][c] for m in members) / len(members) for c in classes]
        if metric == "rmse":
            total += sum((mean[c] - (c == label)) ** 2 for c in classes) / len(classes)
        elif metric == "cross_entropy":
            total -= math.log(mean[label])
        else:
            total += mean.index(max(mean)) != label
    return math.sqrt(total / len(labels)) if metric == "rmse" else total / len(labels)


def literal(predictions: Tensor, labels: Tensor, allowed: list[int], metric: str, steps: int, most: int) -> list[int]:
    """One bag, as section 2 of the paper tells it: the members of the ensemble; ties are ties up to rounding."""

    def loss(members: list[int]) -> float:
        return round(loss_of(members, predictions.tolist(), labels.tolist(), metric), 10)

    best_first = sorted(allowed, key=lambda model: loss([model]))
    starts = [best_first[:n] for n in range(1, min(most, len(allowed)) + 1)]
    ensemble = min(starts, key=loss)
    path = [ensemble]
    for _ in range(steps):
        ensemble = [*ensemble, min(allowed, key=lambda model: loss([*ensemble, model]))]
        path.append(ensemble)
    return min(path, key=loss)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("most_first", "seed"), [(1, 0), (4, 1), (25, 2)])
def test_a_selection_is_that_of_the_literal_algorithm(metric: str, most_first: int, seed: int) -> None:
    predictions, labels = library(seed=seed)
    how = Hillclimb(metric=metric, steps=12, most_first=most_first, bags=1, share=1.0)
    found = select_ensemble(predictions, labels, how)
    members = literal(predictions, labels, list(range(9)), metric, 12, most_first)
    assert found.counts[0].tolist() == [members.count(model) for model in range(9)]
    assert found.loss == pytest.approx(loss_of(members, predictions.tolist(), labels.tolist(), metric), rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_every_bag_climbs_in_its_own_part_of_the_library(metric: str) -> None:
    predictions, labels = library(seed=5)
    how = Hillclimb(metric=metric, steps=6, most_first=3, bags=4, share=0.5, seed=3)
    found = select_ensemble(predictions, labels, how)
    bags = [bag.nonzero().flatten().tolist() for bag in draw_bags(9, 4, 0.5, 3)]
    expected = [literal(predictions, labels, bag, metric, 6, 3) for bag in bags]
    assert found.counts.tolist() == [[members.count(model) for model in range(9)] for members in expected]
    weights = [sum(members.count(m) / len(members) for members in expected) / 4 for m in range(9)]
    assert found.weights.tolist() == pytest.approx(weights, rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_the_loss_is_that_of_the_weighted_mean_and_of_each_model_alone(metric: str) -> None:
    predictions, labels = library(seed=6)
    found = select_ensemble(predictions, labels, Hillclimb(metric=metric, steps=5, bags=3))
    mean = torch.einsum("m,mnc->nc", found.weights, predictions)
    lists = predictions.tolist(), labels.tolist()
    assert found.loss == pytest.approx(loss_of([0], [mean.tolist()], lists[1], metric), rel=1e-9)
    assert found.alone.tolist() == pytest.approx([loss_of([m], *lists, metric) for m in range(9)], rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_without_bags_no_model_alone_is_better(metric: str) -> None:
    found = select_ensemble(*library(seed=7), Hillclimb(metric=metric, bags=1, share=1.0))
    assert found.loss <= float(found.alone.min()) + 1e-12


@pytest.mark.parametrize("metric", METRICS)
def test_of_equal_models_the_first_is_taken(metric: str) -> None:
    predictions, labels = library(seed=8)
    twice = torch.cat([predictions, predictions])
    how = Hillclimb(metric=metric, steps=20, most_first=1, bags=1, share=1.0)
    found = select_ensemble(twice, labels, how).counts[0]
    assert found[9:].sum() == 0
    assert torch.equal(found[:9], select_ensemble(predictions, labels, how).counts[0])


def test_a_model_that_is_never_wrong_is_all_there_is() -> None:
    predictions, labels = library()
    predictions[4] = torch.nn.functional.one_hot(labels, 3)
    found = select_ensemble(predictions, labels, Hillclimb(bags=1, share=1.0))
    assert found.counts.tolist() == [[0, 0, 0, 0, 1, 0, 0, 0, 0]]
    assert found.loss == 0


def test_a_mean_of_opposite_errors_is_found() -> None:
    """Two models that err by as much to either side: neither is the best, their mean is right."""
    labels = torch.tensor([0, 1, 0, 1])
    right = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    positive = torch.stack([right + 0.4, right - 0.4, right + 0.5])
    found = select_ensemble(torch.stack([1 - positive, positive], -1), labels, Hillclimb(bags=1, share=1.0))
    assert found.counts.tolist() == [[1, 1, 0]]
    assert found.loss == pytest.approx(0, abs=1e-7)


def test_a_label_without_probability_is_never_chosen_by_cross_entropy() -> None:
    predictions, labels = library(models=3)
    predictions[1, 0] = torch.tensor([0.0, 0.5, 0.5]).roll(int(labels[0]))
    found = select_ensemble(predictions, labels, Hillclimb(metric="cross_entropy", bags=1, share=1.0))
    assert found.alone.isinf().tolist() == [False, True, False]
    assert math.isfinite(found.loss)


def test_bags_are_parts_of_the_library_that_depend_on_the_seed() -> None:
    bags = draw_bags(40, 6, 0.5, seed=1)
    assert bags.sum(1).tolist() == [20] * 6
    assert len({tuple(bag.tolist()) for bag in bags}) == 6
    assert torch.equal(bags[:3], draw_bags(40, 3, 0.5, seed=1))
    assert not torch.equal(bags, draw_bags(40, 6, 0.5, seed=2))
    assert draw_bags(3, 2, 0.1, seed=0).sum(1).tolist() == [1, 1]


@pytest.mark.parametrize(
    "change", [{"steps": -1}, {"most_first": 0}, {"bags": 0}, {"share": 0.0}, {"share": 1.5}, {"share": math.nan}]
)
def test_numbers_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="are needed"):
        Hillclimb(**change)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    predictions, labels = library()
    with pytest.raises(ValueError, match="shape"):
        select_ensemble(predictions, labels[1:], Hillclimb())
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        select_ensemble(predictions, labels + 1, Hillclimb())
    predictions[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        select_ensemble(predictions, labels, Hillclimb())
