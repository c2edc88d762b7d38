"""The library as it is declared, and scikit-learn's estimators for it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from kdcli.errors import DataError, MachineError
from kdcli.selection.estimators import fitted_estimator, require_scikit_learn
from kdcli.selection.library import FULL, SMALL, Candidate, library

ROWS = np.random.default_rng(0).normal(size=(80, 5))
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(np.int64)
FAMILIES = {
    "svm", "bagged_trees", "boosted_trees", "boosted_stumps", "tree", "forest", "extra_trees", "net", "logistic",
    "neighbours", "naive_bayes",
}  # fmt: skip


@pytest.mark.parametrize("candidates", [SMALL, FULL], ids=["small", "full"])
def test_a_library_has_every_family_of_the_paper_and_no_model_twice(candidates: tuple[Candidate, ...]) -> None:
    assert {candidate.family for candidate in candidates} == FAMILIES
    assert len({candidate.name for candidate in candidates}) == len(candidates)


def test_both_sizes_have_a_name() -> None:
    assert library("small") == SMALL
    assert library("full") == FULL
    assert len(SMALL) < 25 < 100 < len(FULL)


def test_a_name_tells_the_family_and_its_parameters() -> None:
    assert (
        Candidate("svm", (("kernel", "rbf"), ("width", 0.25), ("C", 1000.0))).name == "svm kernel=rbf width=0.25 C=1000"
    )


# One of every form of parameters; the dear ones differ from these in numbers only.
FORMS = list(
    {(each.family, tuple(key for key, _ in each.parameters)): each for each in reversed(SMALL + FULL)}.values()
)


@pytest.mark.parametrize("candidate", FORMS, ids=lambda candidate: candidate.name)
def test_every_form_of_candidate_is_fitted_and_again_the_same(candidate: Candidate) -> None:
    said = []
    for _ in range(2):
        estimator = fitted_estimator(candidate, ROWS, LABELS, seed=7)
        ask = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.decision_function
        said.append(ask(ROWS))
    np.testing.assert_array_equal(*said)
    positive = said[0][:, 1] if said[0].ndim == 2 else said[0]
    assert positive[LABELS == 1].mean() > positive[LABELS == 0].mean()


def test_parameters_reach_the_estimators() -> None:
    def built(family: str, **parameters: object) -> object:
        return fitted_estimator(Candidate(family, tuple(parameters.items())), ROWS, LABELS, seed=0)  # type: ignore[arg-type]

    svm = built("svm", kernel="rbf", width=2.0, C=10.0)
    assert (svm.kernel, svm.gamma, svm.C) == ("rbf", 2.0 / 5, 10.0)
    svm = built("svm", kernel="poly", degree=3, C=0.5)
    assert (svm.kernel, svm.degree, svm.coef0, svm.C) == ("poly", 3, 1.0, 0.5)
    bagged = built("bagged_trees", trees=7, leaf=2, criterion="entropy")
    assert (len(bagged.estimators_), bagged.estimator.min_samples_leaf, bagged.estimator.criterion) == (7, 2, "entropy")
    boosted = built("boosted_trees", trees=4, depth=2)
    assert [tree.get_depth() for tree in boosted.estimators_] == [2] * 4
    assert {tree.get_depth() for tree in built("boosted_stumps", trees=5).estimators_} == {1}
    assert built("tree", leaf=9).min_samples_leaf == 9
    assert (built("forest", trees=3, share=0.5).max_features, len(built("extra_trees", trees=3, share=1.0))) == (0.5, 3)
    net = built("net", units=6, epochs=2, decay=0.25)
    assert ([each.shape for each in net.coefs_], net.n_iter_, net.alpha) == ([(5, 6), (6, 1)], 2, 0.25)
    assert built("logistic", C=0.125).C == 0.125
    assert (
        built("neighbours", k=3, weights="distance").n_neighbors,
        built("neighbours", k=999, weights="uniform").n_neighbors,
    ) == (3, 80)
    assert built("naive_bayes", smoothing=0.5).var_smoothing == 0.5


def test_a_model_that_cannot_be_fitted_is_named() -> None:
    with pytest.raises(DataError, match=r"svm kernel=linear C=1 cannot be fitted to 80 rows: .*class"):
        fitted_estimator(SMALL[0], ROWS, np.zeros(80, dtype=np.int64), seed=0)


def test_without_scikit_learn_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_scikit_learn()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MachineError, match="needs sklearn, which is not installed") as caught:
        require_scikit_learn()
    assert caught.value.fix == "pip install 'kdcli[selection]'"
