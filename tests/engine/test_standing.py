"""The best epoch, early stopping, and the record of a divergence."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
import torch
from pydantic import TypeAdapter

from kdcli.engine.results import Divergence
from kdcli.engine.standing import Standing, as_plain, copied
from kdcli.json_io import encode_json
from kdcli.metrics import Measures


def measures(top1: float, nll: float) -> Measures:
    return Measures(10, 0, top1, 1.0, nll, 0.1, 0.1, 0.1, None, None)


def after_all(values: Sequence[tuple[float, float]], patience: int | None = None) -> Standing:
    standing = Standing()
    for epoch, (top1, nll) in enumerate(values):
        if standing.active:
            standing = standing.after(epoch, 5 * (epoch + 1), measures(top1, nll), patience)
    return standing


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([(0.5, 1.0), (0.7, 1.0), (0.6, 0.1)], 1),  # by top-1
        ([(0.7, 0.9), (0.7, 0.8), (0.7, 0.85)], 1),  # then by NLL
        ([(0.5, 1.0), (0.7, 0.8), (0.7, 0.8)], 1),  # then the earliest
        ([(0.7, 0.8), (0.7, 0.8)], 0),
    ],
)
def test_best_is_by_top1_then_nll_then_the_earliest(values: list[tuple[float, float]], best: int) -> None:
    standing = after_all(values)
    assert (standing.best_epoch, standing.best_step) == (best, 5 * (best + 1))
    assert standing.best_val == measures(*values[best])
    assert standing.last_val == measures(*values[-1])
    assert standing.active


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_early_stopping_stops_after_patience_epochs_without_improvement(patience: int) -> None:
    values = [(0.5, 1.0), (0.6, 1.0), *[(0.6, 1.0)] * 5]
    standing = after_all(values, patience)
    assert not standing.active
    assert standing.stopped_epoch == 1 + patience
    assert standing.stopped_step == 5 * (2 + patience)
    assert standing.best_epoch == 1
    assert standing.divergence is None


def test_an_improvement_starts_the_patience_again() -> None:
    values = [(0.5, 1.0), (0.5, 1.0), (0.6, 1.0), (0.6, 1.0), (0.6, 1.0)]
    assert after_all(values, 2).stopped_epoch == 4


def test_without_validation_nothing_is_best_and_nothing_stops() -> None:
    assert Standing().after(3, 15, None, 1) == Standing()


DIVERGED = Divergence(2, 13, 0.1, 4.0, 0.5, math.nan, math.inf, -math.inf)


def test_a_network_that_diverged_keeps_its_best() -> None:
    standing = after_all([(0.5, 1.0)]).diverged(DIVERGED)
    assert not standing.active
    assert (standing.stopped_epoch, standing.stopped_step, standing.best_epoch) == (2, 13, 0)
    assert standing.divergence == DIVERGED


@pytest.mark.parametrize("standing", [Standing(), after_all([(0.5, 1.0)]), after_all([(0.5, 1.0)]).diverged(DIVERGED)])
def test_a_standing_survives_json(standing: Standing) -> None:
    text = encode_json(as_plain(standing))
    assert json.loads(text) == as_plain(standing)
    back = TypeAdapter(Standing).validate_python(json.loads(text))
    assert repr(back) == repr(standing)  # NaN is not equal to itself


def test_a_copied_state_stays_as_it_was() -> None:
    tensor = torch.ones(2, requires_grad=True)
    kept = copied({"weight": tensor})
    with torch.no_grad():
        tensor.zero_()
    assert torch.equal(kept["weight"], torch.ones(2))
    assert not kept["weight"].requires_grad
