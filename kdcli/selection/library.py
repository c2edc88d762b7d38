"""The library: which models an ensemble is selected from, as names and parameters.

The families are those of Bucila, Caruana and Niculescu-Mizil 2006; the paper does not list their parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Family = Literal[
    "svm",
    "bagged_trees",
    "boosted_trees",
    "boosted_stumps",
    "tree",
    "forest",
    "extra_trees",
    "net",
    "logistic",
    "neighbours",
    "naive_bayes",
]
Size = Literal["small", "full"]
Value = int | float | str


@dataclass(frozen=True)
class Candidate:
    """A model that is to be fitted.

    Attributes:
        family: Its learning algorithm.
        parameters: What :mod:`kdcli.selection.estimators` builds it with.
    """

    family: Family
    parameters: tuple[tuple[str, Value], ...] = ()

    @property
    def name(self) -> str:
        """The family and its parameters."""
        return " ".join(
            [
                self.family,
                *(
                    f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
                    for key, value in self.parameters
                ),
            ]
        )


def library(size: Size) -> tuple[Candidate, ...]:
    """The candidates: ``small`` has some of every family, ``full`` is the paper's kind of library."""
    return SMALL if size == "small" else FULL


def _grid(family: Family, **values: list[Value]) -> Iterator[Candidate]:
    """All combinations of the parameters' values."""
    for combination in itertools.product(*values.values()):
        yield Candidate(family, tuple(zip(values, combination, strict=True)))


SMALL: tuple[Candidate, ...] = (
    *_grid("svm", kernel=["linear"], C=[1.0]),
    *_grid("svm", kernel=["rbf"], width=[2.0, 4.0], C=[10.0, 100.0]),
    *_grid("bagged_trees", trees=[30], leaf=[1]),
    *_grid("boosted_trees", trees=[100], depth=[8, 12]),
    *_grid("boosted_stumps", trees=[50]),
    *_grid("tree", leaf=[1, 5]),
    *_grid("forest", trees=[100], share=[0.25]),
    *_grid("extra_trees", trees=[100], share=[0.5]),
    *_grid("net", units=[32, 128], epochs=[100], decay=[1e-2]),
    *_grid("logistic", C=[1.0]),
    *_grid("neighbours", k=[1, 5, 20], weights=["distance"]),
    *_grid("naive_bayes", smoothing=[1e-9]),
)

FULL: tuple[Candidate, ...] = (
    *_grid("svm", kernel=["linear"], C=[0.01, 0.1, 1.0, 10.0]),
    *_grid("svm", kernel=["poly"], degree=[2, 3, 4], C=[0.01, 0.1, 1.0, 10.0]),
    *_grid("svm", kernel=["rbf"], width=[0.25, 0.5, 1.0, 2.0, 4.0, 8.0], C=[1.0, 10.0, 100.0, 1000.0]),
    *_grid("bagged_trees", trees=[100], leaf=[1, 2, 5], criterion=["gini", "entropy"]),
    *_grid("boosted_trees", trees=[50, 100, 200, 400], depth=[4, 6, 8, 10, 12]),
    *_grid("boosted_stumps", trees=[50, 200, 800]),
    *_grid("tree", leaf=[1, 2, 5, 10, 20], criterion=["gini", "entropy"]),
    *_grid("forest", trees=[400], share=[0.07, 0.125, 0.25, 0.5]),
    *_grid("extra_trees", trees=[400], share=[0.125, 0.25, 0.5, 1.0]),
    *_grid("net", units=[8, 32, 128, 256], epochs=[50, 200], decay=[1e-4, 1e-2, 1e-1, 1.0]),
    *_grid("logistic", C=[1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0]),
    *_grid("neighbours", k=[1, 2, 3, 5, 8, 12, 20, 50, 100], weights=["uniform", "distance"]),
    *_grid("naive_bayes", smoothing=[1e-9, 1e-2, 1e-1]),
)
