"""The teacher of Bucila, Caruana and Niculescu-Mizil 2006: an ensemble that is selected from a fitted library."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdcli.data.types import Split
from kdcli.errors import DataError
from kdcli.selection.encoding import Encoding
from kdcli.selection.estimators import require_scikit_learn
from kdcli.selection.library import Candidate
from kdcli.selection.models import FittedModel, Member, Say, ask_models, calibrated_members, fit_models
from kdcli.selection.select import Hillclimb, Selection, select_ensemble
from kdcli.selection.size import state_bytes

CASES = 10_000
_LEAST = 1e-7  # the smallest probability whose logarithm is given: some models say 0


@dataclass(frozen=True, eq=False)
class FittedLibrary:
    """Models that are fitted to a training part.

    Attributes:
        encoding: What they read.
        models: The models.
    """

    encoding: Encoding
    models: Sequence[FittedModel]


@dataclass(frozen=True, eq=False)
class Blend:
    """A weighted mean of models: the ensemble, or one model alone.

    Attributes:
        encoding: What the models read.
        members: The models, each as it is or calibrated.
        weights: Their parts, in sum 1.
    """

    encoding: Encoding
    members: Sequence[Member]
    weights: Sequence[float]

    @property
    def parts(self) -> dict[str, float]:
        """The weight of each member, by its name, the largest first."""
        pairs = zip(self.members, self.weights, strict=True)
        return {member.name: weight for member, weight in sorted(pairs, key=lambda pair: -pair[1])}

    def predict(self, inputs: Tensor, *, threads: int = 1) -> Tensor:
        """Class probabilities, float64 ``(N, C)``, of raw rows ``(N, D)``, 10,000 at a time.

        Args:
            inputs: The rows.
            threads: How many models are asked at the same time; what they say does not depend on it.
        """
        return torch.cat([self._predict(part, threads) for part in inputs.split(CASES)])

    def log_probabilities(self, inputs: Tensor, *, threads: int = 1) -> Tensor:
        """The same as finite logits, float32 ``(N, C)``: a probability below 1e-7 counts as that."""
        return self.predict(inputs, threads=threads).clamp_min(_LEAST).log().float()

    def size_bytes(self) -> int:
        """The bytes of all that is in the models, of which each counts once; see ``state_bytes``."""
        return state_bytes(self)

    def seconds_per_10k(self, inputs: Tensor) -> float:
        """Wall-clock seconds of one thread for 10,000 cases, by the time that ``inputs``, not too few, take now."""
        begun = time.perf_counter()
        self.predict(inputs)
        return (time.perf_counter() - begun) * CASES / len(inputs)

    def _predict(self, inputs: Tensor, threads: int) -> Tensor:
        answers = ask_models({member.model for member in self.members}, self.encoding(inputs), threads)
        pairs = zip(self.members, self.weights, strict=True)
        return torch.stack([weight * member.probabilities(answers[member.model]) for member, weight in pairs]).sum(0)


@dataclass(frozen=True, eq=False)
class SelectedEnsemble:
    """The teacher, and what the paper compares it with.

    Attributes:
        ensemble: The ensemble.
        single: The best model of the library alone, by the same metric on the same part.
        net: The best neural net; None where the library has none.
        selection: How it came about, of all ``names``.
        names: The members of the library, in the order of ``selection``.
        sha256: A digest of what the ensemble says of the selection part, of its members' names and weights.
    """

    ensemble: Blend
    single: Blend
    net: Blend | None
    selection: Selection
    names: Sequence[str]
    sha256: str


def fit_library(
    candidates: Sequence[Candidate],
    train: Split,
    num_classes: int,
    *,
    nominal: Sequence[int] = (),
    seed: int,
    only: Collection[str] | None = None,
    say: Say = lambda line: None,
) -> FittedLibrary:
    """Fit the models of a library to a training part.

    Args:
        candidates: The library.
        train: Raw examples, the rows of a table.
        num_classes: Number of classes.
        nominal: The attributes that hold codes of categories.
        seed: What the models draw depends on it and on their place in the library.
        only: The names of the candidates that are fitted; None: all of them.
        say: Told how far it is.

    Raises:
        MachineError: scikit-learn is not installed.
        DataError: These are no rows of a table, a class has no example, or a model cannot be fitted.
    """
    require_scikit_learn()
    _check_classes(train.labels, num_classes)
    inputs = _rows(train)
    encoding = Encoding.of(inputs, nominal)
    wanted = {place: one for place, one in enumerate(candidates) if only is None or one.name in only}
    return FittedLibrary(encoding, fit_models(wanted, encoding(inputs), train.labels, seed, say))


def select_from(library: FittedLibrary, part: Split, how: Hillclimb) -> SelectedEnsemble:
    """Calibrate the models and select the ensemble, both on a part that they were not fitted to.

    Args:
        library: The fitted models.
        part: The selection part.
        how: The hillclimb.
    """
    members, predictions = calibrated_members(library.models, library.encoding(_rows(part)), part.labels)
    selection = select_ensemble(predictions, part.labels, how)
    chosen = selection.weights.nonzero().squeeze(1).tolist()
    weights = selection.weights[chosen].tolist()
    ensemble = Blend(library.encoding, [members[number] for number in chosen], weights)
    nets = [number for number, member in enumerate(members) if member.model.candidate.family == "net"]
    return SelectedEnsemble(
        ensemble=ensemble,
        single=_best(library, members, selection.alone, list(range(len(members)))),
        net=_best(library, members, selection.alone, nets) if nets else None,
        selection=selection,
        names=[member.name for member in members],
        sha256=_digest(ensemble, predictions[chosen]),
    )


def reselect(library: FittedLibrary, part: Split, weights: Mapping[str, float]) -> tuple[Blend, str]:
    """An ensemble that was selected before, from its models fitted again, and its digest.

    Args:
        library: Its models, at least.
        part: The selection part, to which the calibrations are fitted.
        weights: The members' names and weights.
    """
    members, predictions = calibrated_members(library.models, library.encoding(_rows(part)), part.labels)
    chosen = [number for number, member in enumerate(members) if member.name in weights]
    found = [members[number] for number in chosen]
    ensemble = Blend(library.encoding, found, [weights[member.name] for member in found])
    return ensemble, _digest(ensemble, predictions[chosen])


def _best(library: FittedLibrary, members: Sequence[Member], losses: Tensor, among: list[int]) -> Blend:
    return Blend(library.encoding, [members[among[int(losses[among].argmin())]]], [1.0])


def _digest(ensemble: Blend, predictions: Tensor) -> str:
    digest = hashlib.sha256(json.dumps(ensemble.parts).encode())
    digest.update(predictions.contiguous().numpy().data)
    return digest.hexdigest()


def _rows(part: Split) -> Tensor:
    if not isinstance(part.inputs, Tensor) or part.inputs.ndim != 2:
        raise DataError(
            "an ensemble selection learns from the rows of a table, not from images",
            where="dataset",
            fix="choose a table: dataset=letter_p1, or dataset=csv",
        )
    return part.inputs


def _check_classes(labels: Tensor, num_classes: int) -> None:
    missing = (labels.bincount(minlength=num_classes) == 0).nonzero().flatten().tolist()
    if missing:
        raise DataError(
            f"class number {missing[0]} has no example in the training part",
            where="dataset, transfer",
            fix="let every class have examples: the models of a library only know the classes that they saw",
        )
