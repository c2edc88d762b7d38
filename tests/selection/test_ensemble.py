"""The fitted ensemble as a whole, on small tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcli.data.types import Split
from kdcli.errors import DataError
from kdcli.selection import Blend, Candidate, Hillclimb, SelectedEnsemble, fit_library, reselect, select_from
from kdcli.selection.calibration import calibrated_out_of_fold, platt
from kdcli.selection.models import calibrated_members, candidates_of
from kdcli.selection.size import state_bytes

CANDIDATES = (
    Candidate("logistic", (("C", 1.0),)),
    Candidate("svm", (("kernel", "rbf"), ("width", 1.0), ("C", 10.0))),
    Candidate("forest", (("trees", 15), ("share", 0.5))),
    Candidate("net", (("units", 8), ("epochs", 30), ("decay", 0.01))),
    Candidate("naive_bayes", (("smoothing", 1e-9),)),
)
HOW = Hillclimb(bags=4, steps=15)


def table(rows: int, classes: int, seed: int) -> Split:
    """Points whose class is the sector that they lie in, nearly, and a column of noise."""
    draw = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))
    angle = torch.atan2(draw[:, 0] - draw[:, 1], draw[:, 0] + 2 * draw[:, 1]) + 0.3 * draw[:, 3]
    return Split(draw[:, :3], ((angle / math.pi + 1) / 2 * classes).long() % classes)


def chosen(classes: int = 2, seed: int = 0) -> SelectedEnsemble:
    library = fit_library(CANDIDATES, table(300, classes, 1), classes, seed=seed)
    return select_from(library, table(150, classes, 2), HOW)


@pytest.fixture(scope="module")
def two() -> SelectedEnsemble:
    return chosen()


def rmse(probabilities: Tensor, labels: Tensor) -> float:
    return (probabilities - torch.nn.functional.one_hot(labels, probabilities.shape[1])).square().mean().sqrt().item()


@pytest.mark.parametrize("classes", [2, 4])
def test_it_says_distributions_that_are_better_than_each_model_alone(classes: int) -> None:
    found, test = chosen(classes), table(2000, classes, 3)
    said = found.ensemble.predict(test.inputs)
    assert said.shape == (2000, classes)
    assert said.dtype == torch.float64
    torch.testing.assert_close(said.sum(1), torch.ones(2000, dtype=torch.float64))
    assert rmse(said, test.labels) < rmse(found.single.predict(test.inputs), test.labels) < 0.4


def test_it_is_the_weighted_mean_of_its_members(two: SelectedEnsemble) -> None:
    inputs = table(50, 2, 4).inputs
    mean = sum(
        weight * Blend(two.ensemble.encoding, [member], [1.0]).predict(inputs)
        for member, weight in zip(two.ensemble.members, two.ensemble.weights, strict=True)
    )
    torch.testing.assert_close(two.ensemble.predict(inputs), mean)
    assert sum(two.ensemble.weights) == pytest.approx(1)
    assert min(two.ensemble.weights) > 0
    parts = two.ensemble.parts
    assert list(parts.values()) == sorted(two.ensemble.weights, reverse=True)
    assert set(parts) <= set(two.names)


def test_every_model_is_in_the_library_as_it_is_and_calibrated(two: SelectedEnsemble) -> None:
    names = [candidate.name for candidate in CANDIDATES]
    assert [name for name in two.names if not name.endswith("calibrated")] == [names[0], *names[2:]]
    assert [name for name in two.names if name.endswith("calibrated")] == [f"{name} calibrated" for name in names]


def test_calibrated_models_are_chosen_by_what_they_say_out_of_fold() -> None:
    library, part = fit_library(CANDIDATES[:1], table(100, 2, 1), 2, seed=0), table(60, 2, 2)
    rows = library.encoding(part.inputs)
    members, predictions = calibrated_members(library.models, rows, part.labels)
    scores = library.models[0].answers(rows).scores
    assert torch.equal(predictions[1], calibrated_out_of_fold(scores, part.labels))
    whole = members[1].calibration
    assert whole is not None
    assert torch.equal(whole(scores), platt(scores, part.labels)(scores))
    assert torch.equal(predictions[0], members[0].probabilities(library.models[0].answers(rows)))


def test_single_and_net_are_the_best_on_the_selection_part(two: SelectedEnsemble) -> None:
    losses = dict(zip(two.names, two.selection.alone.tolist(), strict=True))
    assert list(two.single.parts) == [min(losses, key=lambda name: losses[name])]
    assert two.net is not None
    nets = {name: loss for name, loss in losses.items() if name.startswith("net")}
    assert list(two.net.parts) == [min(nets, key=lambda name: nets[name])]


def test_a_library_without_nets_has_no_best_net() -> None:
    library = fit_library(CANDIDATES[:1], table(100, 2, 1), 2, seed=0)
    assert select_from(library, table(50, 2, 2), HOW).net is None


def test_the_same_seed_makes_the_same_teacher_and_another_one_another(two: SelectedEnsemble) -> None:
    again, other = chosen(), chosen(seed=1)
    inputs = table(50, 2, 4).inputs
    assert torch.equal(again.ensemble.predict(inputs), two.ensemble.predict(inputs))
    assert again.sha256 == two.sha256 != other.sha256
    assert not torch.equal(other.ensemble.predict(inputs), two.ensemble.predict(inputs))


def test_its_members_alone_fitted_again_are_the_same_ensemble(two: SelectedEnsemble) -> None:
    weights, train, part = two.ensemble.parts, table(300, 2, 1), table(150, 2, 2)
    names = candidates_of(weights)
    assert 0 < len(names) < len(CANDIDATES)
    library = fit_library(CANDIDATES, train, 2, seed=0, only=names)
    assert len(library.models) == len(names)
    ensemble, sha256 = reselect(library, part, weights)
    assert (ensemble.parts, sha256) == (weights, two.sha256)
    inputs = table(50, 2, 4).inputs
    assert torch.equal(ensemble.predict(inputs), two.ensemble.predict(inputs))
    assert reselect(library, part, dict.fromkeys(weights, 0.5))[1] != sha256


def test_another_training_part_makes_another_teacher_of_the_same_name() -> None:
    how = Hillclimb(bags=1, share=1.0, steps=0, most_first=1)
    found = [
        select_from(fit_library(CANDIDATES[4:], table(200, 2, number), 2, seed=0), table(60, 2, 2), how)
        for number in (1, 3)
    ]
    assert found[0].ensemble.parts == found[1].ensemble.parts == {found[0].names[1]: 1.0}
    assert found[0].sha256 != found[1].sha256


def test_parts_do_not_change_what_it_says(two: SelectedEnsemble, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = table(100, 2, 4).inputs
    whole = two.ensemble.predict(inputs)
    monkeypatch.setattr("kdcli.selection.ensemble.CASES", 7)
    torch.testing.assert_close(two.ensemble.predict(inputs), whole, atol=1e-12, rtol=0)


def test_threads_do_not_change_what_it_says(two: SelectedEnsemble) -> None:
    inputs = table(500, 2, 4).inputs
    assert torch.equal(two.ensemble.predict(inputs, threads=3), two.ensemble.predict(inputs))


def test_log_probabilities_are_finite_where_a_model_says_0() -> None:
    split = Split(torch.arange(20.0)[:, None], (torch.arange(20) > 9).long())
    library = fit_library((Candidate("tree", (("leaf", 1),)),), split, 2, seed=0)
    members, _ = calibrated_members(library.models, library.encoding(split.inputs), split.labels)
    tree = Blend(library.encoding, members[:1], [1.0])
    assert tree.predict(split.inputs).unique().tolist() == [0, 1]
    said = tree.log_probabilities(split.inputs)
    assert said.dtype == torch.float32
    np.testing.assert_allclose(said[0].tolist(), [0, math.log(1e-7)], rtol=1e-6)


def test_the_size_counts_a_model_once_however_often_it_is_a_member(two: SelectedEnsemble) -> None:
    library = fit_library(CANDIDATES[2:3], table(300, 2, 1), 2, seed=0)
    part = table(150, 2, 2)
    members, _ = calibrated_members(library.models, library.encoding(part.inputs), part.labels)
    both, one = Blend(library.encoding, members, [0.5, 0.5]), Blend(library.encoding, members[:1], [1.0])
    forest = state_bytes(library.models[0].estimator)
    assert forest < one.size_bytes() < both.size_bytes() < forest + 1000
    assert two.ensemble.size_bytes() > two.single.size_bytes() > 1000


def test_the_time_is_that_of_ten_thousand_cases(two: SelectedEnsemble, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 100.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    assert two.single.seconds_per_10k(table(2000, 2, 5).inputs) == pytest.approx(2.5)


def test_a_class_without_an_example_is_refused() -> None:
    with pytest.raises(DataError, match="class number 2 has no example"):
        fit_library(CANDIDATES, table(50, 2, 1), 3, seed=0)


def test_images_are_refused() -> None:
    images = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(DataError, match="the rows of a table, not from images"):
        fit_library(CANDIDATES, images, 2, seed=0)


def test_categories_are_told_from_quantities() -> None:
    """The classes are codes 0 and 2 against 1: no line parts them, three indicators do."""
    codes = torch.arange(90) % 3
    split = Split(codes[:, None].float(), (codes == 1).long())
    logistic = CANDIDATES[:1]
    quantity = select_from(fit_library(logistic, split, 2, seed=0), split, HOW)
    category = select_from(fit_library(logistic, split, 2, nominal=(0,), seed=0), split, HOW)
    assert rmse(category.ensemble.predict(split.inputs), split.labels) < 0.1
    assert rmse(quantity.ensemble.predict(split.inputs), split.labels) > 0.4


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdcli.selection.models.PROGRESS_SECONDS", 0.0)
    said: list[str] = []
    fit_library(CANDIDATES[:2], table(50, 2, 1), 2, seed=0, say=said.append)
    assert said == ["fitted 1 of 2 models", "fitted 2 of 2 models"]


def test_the_labels_of_the_selection_part_do_not_reach_the_models(two: SelectedEnsemble) -> None:
    part = table(150, 2, 2)
    library = fit_library(CANDIDATES, table(300, 2, 1), 2, seed=0)
    other = replace(part, labels=1 - part.labels)
    found = [select_from(library, each, HOW).ensemble for each in (part, other)]
    assert found[0].parts != found[1].parts
    assert [model.answers(library.encoding(part.inputs)).scores.tolist() for model in library.models] == [
        model.answers(library.encoding(part.inputs)).scores.tolist()
        for model in fit_library(CANDIDATES, table(300, 2, 1), 2, seed=0).models
    ]
