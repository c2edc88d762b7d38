"""Fitted models of a library, and what they say.

Shapes: N examples, C classes, K scores an example (see :mod:`kdcli.selection.calibration`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdcli.data.order import mix_seed
from kdcli.selection.calibration import Platt, calibrated_out_of_fold, log_odds, platt
from kdcli.selection.encoding import Rows
from kdcli.selection.estimators import fitted_estimator, one_thread
from kdcli.selection.library import Candidate

PROGRESS_SECONDS = 2.0
_LIBRARY = 22

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says.

    Attributes:
        scores: Float64 ``(N, K)``, what a calibration is fitted to.
        probabilities: Float64 ``(N, C)``, where the model has them by itself.
    """

    scores: Tensor
    probabilities: Tensor | None


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A candidate, fitted.

    Attributes:
        candidate: What it was made of.
        estimator: scikit-learn's object.
    """

    candidate: Candidate
    estimator: Any

    def answers(self, rows: Rows) -> Answers:
        """What it says of encoded rows."""
        with one_thread():
            if hasattr(self.estimator, "predict_proba"):
                probabilities = torch.from_numpy(self.estimator.predict_proba(rows)).double()
                return Answers(log_odds(probabilities), probabilities)
            scores = torch.from_numpy(self.estimator.decision_function(rows)).double()
        return Answers(scores[:, None] if scores.ndim == 1 else scores, None)


CALIBRATED = " calibrated"


@dataclass(frozen=True, eq=False)
class Member:
    """A model as the hillclimb takes it: as it is, or calibrated.

    Attributes:
        model: The model.
        calibration: Turns its scores into probabilities; None: its own probabilities.
    """

    model: FittedModel
    calibration: Platt | None

    @property
    def name(self) -> str:
        """The model's, and whether it is calibrated."""
        return self.model.candidate.name + ("" if self.calibration is None else CALIBRATED)

    def probabilities(self, answers: Answers) -> Tensor:
        """Float64 ``(N, C)``, of what its model says."""
        if self.calibration is not None:
            return self.calibration(answers.scores)
        assert answers.probabilities is not None, "a model without probabilities is calibrated"
        return answers.probabilities


def fit_models(
    candidates: Mapping[int, Candidate], rows: Rows, labels: Tensor, seed: int, say: Say
) -> list[FittedModel]:
    """Fit candidates, one after another, each with a seed of its own.

    Args:
        candidates: What is fitted, by its place in the library.
        rows: Encoded training rows, ``(N, D)``.
        labels: Class numbers, int64 ``(N,)``, every class among them.
        seed: What the candidates' seeds are made of.
        say: Told how far it is.

    Raises:
        DataError: A candidate cannot be fitted.
    """
    models: list[FittedModel] = []
    said = time.monotonic()
    for number, candidate in candidates.items():
        estimator = fitted_estimator(candidate, rows, labels.numpy(), mix_seed(_LIBRARY, seed, number))
        models.append(FittedModel(candidate, estimator))
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            say(f"fitted {len(models)} of {len(candidates)} models")
    return models


def candidates_of(members: Collection[str]) -> set[str]:
    """The names of the candidates that members of these names are made of."""
    return {name.removesuffix(CALIBRATED) for name in members}


def ask_models(models: Collection[FittedModel], rows: Rows, threads: int) -> dict[FittedModel, Answers]:
    """What each of several models says of encoded rows, as many of them at a time as there are threads.

    All linear algebra is kept to one thread meanwhile: a model in a thread of its own that lifted the limit when it is
    done would lift it for the others.
    """
    with one_thread(), ThreadPoolExecutor(threads) as pool:
        return dict(zip(models, pool.map(lambda model: model.answers(rows), models), strict=True))


def calibrated_members(models: Sequence[FittedModel], rows: Rows, labels: Tensor) -> tuple[list[Member], Tensor]:
    """Every model as it is, if it says probabilities, and calibrated on the selection part.

    Args:
        models: Fitted models.
        rows: Encoded rows of the selection part.
        labels: Their classes, int64 ``(N,)``.

    Returns:
        The members, and what they say of these rows, float64 ``(M, N, C)``: calibrated ones out of fold.
    """
    members: list[Member] = []
    predictions: list[Tensor] = []
    for model in models:
        answers = model.answers(rows)
        if answers.probabilities is not None:
            members.append(Member(model, None))
            predictions.append(answers.probabilities)
        members.append(Member(model, platt(answers.scores, labels)))
        predictions.append(calibrated_out_of_fold(answers.scores, labels))
    return members, torch.stack(predictions)
