"""scikit-learn's estimators for the candidates of a library; scikit-learn is imported here, and only when asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdcli.errors import DataError
from kdcli.extras import need
from kdcli.selection.encoding import Rows
from kdcli.selection.library import Candidate, Family, Value

Parameters = Mapping[str, Value]


def require_scikit_learn() -> None:
    """See that scikit-learn is there, which kd does not need for anything else.

    Raises:
        MachineError: It is not installed.
    """
    need("an ensemble selection", "selection", "sklearn")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the linear algebra below scikit-learn to one thread, so that sums are always made in one order."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def fitted_estimator(candidate: Candidate, rows: Rows, labels: NDArray[np.int64], seed: int) -> Any:
    """Build what a candidate names, and fit it.

    Args:
        candidate: The family and its parameters.
        rows: Encoded training rows, ``(N, D)``.
        labels: Class numbers ``(N,)``.
        seed: Of all that it draws.

    Raises:
        DataError: It cannot be fitted to these rows.
    """
    from sklearn.exceptions import ConvergenceWarning

    estimator = _BUILDERS[candidate.family](dict(candidate.parameters), rows.shape, seed % 2**32)
    try:
        with warnings.catch_warnings(), one_thread():
            # The number of a net's epochs is one of its parameters; that it could go on is no news.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(rows, labels)
    except ValueError as error:
        raise DataError(
            f"{candidate.name} cannot be fitted to {len(rows)} rows: {error}",
            where="dataset, transfer",
            fix="see that every class has some examples, and that the attributes tell something of it",
        ) from error
    return estimator


def _svm(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    """``width`` is gamma times the number of columns, whose squared distances grow with it."""
    from sklearn.svm import SVC

    options: dict[str, Any] = {"kernel": parameters["kernel"], "C": parameters["C"], "cache_size": 500}
    match parameters:
        case {"width": width}:
            options["gamma"] = float(width) / shape[1]
        case {"degree": degree}:
            options |= {"degree": degree, "coef0": 1.0}
    return SVC(**options)


def _tree(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(
        criterion=parameters.get("criterion", "gini"),
        min_samples_leaf=parameters.get("leaf", 1),
        max_depth=parameters.get("depth"),
        random_state=seed,
    )


def _bagged_trees(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    from sklearn.ensemble import BaggingClassifier

    tree = _tree(parameters, shape, seed)
    return BaggingClassifier(tree, n_estimators=parameters["trees"], random_state=seed)


def _boosted_trees(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    """AdaBoost; a tree without a limit would fit the rows exactly, and boosting would end with the first."""
    from sklearn.ensemble import AdaBoostClassifier

    tree = _tree({"depth": 1} | dict(parameters), shape, seed)
    return AdaBoostClassifier(tree, n_estimators=parameters["trees"], random_state=seed)


def _forest(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=parameters["trees"], max_features=parameters["share"], random_state=seed)


def _extra_trees(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(n_estimators=parameters["trees"], max_features=parameters["share"], random_state=seed)


def _net(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        hidden_layer_sizes=(parameters["units"],),
        alpha=parameters["decay"],
        max_iter=parameters["epochs"],
        learning_rate_init=3e-3,
        random_state=seed,
    )


def _logistic(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=parameters["C"], max_iter=1000)


def _neighbours(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    k = min(int(parameters["k"]), shape[0])
    return KNeighborsClassifier(k, weights=parameters["weights"])


def _naive_bayes(parameters: Parameters, shape: tuple[int, ...], seed: int) -> Any:
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB(var_smoothing=parameters["smoothing"])


_BUILDERS: Mapping[Family, Callable[[Parameters, tuple[int, ...], int], Any]] = {
    "svm": _svm,
    "bagged_trees": _bagged_trees,
    "boosted_trees": _boosted_trees,
    "boosted_stumps": _boosted_trees,
    "tree": _tree,
    "forest": _forest,
    "extra_trees": _extra_trees,
    "net": _net,
    "logistic": _logistic,
    "neighbours": _neighbours,
    "naive_bayes": _naive_bayes,
}
