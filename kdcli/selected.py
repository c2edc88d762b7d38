"""Ensemble selections of runs: how a configuration makes one, and how it is had again from what the run kept of it.

What a run keeps is what the ensemble said of the rows of its data, as the tensors of a `KeptEnsemble`; models are never
written. When they are asked about other rows they are fitted again, and must come out as they were.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from kdcli.build import Data, load_data
from kdcli.checkpoint import check_finite
from kdcli.errors import CheckpointError, DataError
from kdcli.rundir import RunDir
from kdcli.schema import Training, convert, parse_config
from kdcli.schema.card import NetworkCard
from kdcli.schema.model import Selection
from kdcli.selection import (
    Blend,
    FittedLibrary,
    Hillclimb,
    KeptEnsemble,
    SelectedEnsemble,
    fit_library,
    library,
    reselect,
    select_from,
)
from kdcli.selection.models import Say, candidates_of
from kdcli.selection.network import KEY_BYTES
from kdcli.strict import StrictModel

VERSION = "scikit_learn"
MEMBERS = "members"
_AT_HAND = 2
_at_hand: dict[str, Blend] = {}


class _Members(StrictModel):
    """What the state of a checkpoint says of the members: their weights by name."""

    weights: dict[str, float]


def scikit_learn_version() -> str:
    """Of what is installed."""
    return metadata.version("scikit-learn")


def select(config: Training, data: Data, say: Say) -> SelectedEnsemble:
    """Fit the library that a configuration names to its training part, and select on its validation part.

    Raises:
        MachineError: scikit-learn is not installed.
        DataError: The data are no table, or a class has no example in the training part.
    """
    section = _section(config)
    how = Hillclimb(section.metric, section.steps, section.most_first, section.bags, section.share, config.seed)
    found = select_from(_fitted(config, data, None, say), data.dataset.train.subset(data.val), how)
    _hold(found.sha256, found.ensemble)
    return found


def _fitted(config: Training, data: Data, only: Collection[str] | None, say: Say) -> FittedLibrary:
    candidates, train = library(_section(config).library), data.dataset.train.subset(data.transfer)
    nominal = data.dataset.nominal
    return fit_library(candidates, train, data.num_classes, nominal=nominal, seed=config.seed, only=only, say=say)


def _section(config: Training) -> Selection:
    assert isinstance(config.model, Selection)
    return config.model


def _hold(sha256: str, ensemble: Blend) -> None:
    """Hold on to the last ensembles of this process, of which some take a hundred seconds to fit."""
    _at_hand[sha256] = ensemble
    while len(_at_hand) > _AT_HAND:
        del _at_hand[next(iter(_at_hand))]


def kept_ensemble(
    run: RunDir, card: NetworkCard, tensors: Mapping[str, Tensor], state: Mapping[str, object], say: Say
) -> KeptEnsemble:
    """The ensemble of a run as a network that says what it said.

    Args:
        run: An ensemble selection.
        card: What its checkpoint says it is.
        tensors: What its checkpoint holds.
        state: The JSON part of its checkpoint.
        say: Told how far it is when the models must be fitted again.

    Raises:
        CheckpointError: The tensors are not those of such an ensemble.
    """
    where = str(run.checkpoints)
    _check(tensors, card, where)
    sha256 = bytes(tensors["sha256"].tolist()).hex()

    def models() -> Blend:
        if sha256 not in _at_hand:
            _fit_again(run, card, sha256, state, say)
        return _at_hand[sha256]

    return KeptEnsemble(tensors["sha256"], tensors["rows"], tensors["answers"], models)


def _check(tensors: Mapping[str, Tensor], card: NetworkCard, where: str) -> None:
    rows = len(tensors["rows"]) if "rows" in tensors else 0
    expected = {
        "sha256": (torch.uint8, (32,)),
        "rows": (torch.uint8, (rows, KEY_BYTES)),
        "answers": (torch.float32, (rows, len(card.classes))),
    }
    found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    if found != expected:
        raise CheckpointError("what is kept of an ensemble selection has another form", where=where)
    check_finite(tensors, where)


def _fit_again(run: RunDir, card: NetworkCard, sha256: str, state: Mapping[str, object], say: Say) -> None:
    """Fit the members of an ensemble again, and nothing else of their library."""
    where = str(run.path / "config.yaml")
    config = parse_config(run.record.command, run.config(), error=CheckpointError, where=where)
    if not isinstance(config, Training) or not isinstance(config.model, Selection):
        raise CheckpointError("its checkpoint is of an ensemble selection, its configuration is not", where=where)
    weights = convert(_Members, {"weights": state.get(MEMBERS)}, error=CheckpointError, where=str(run.checkpoints))
    say(f"{run.path} is asked about rows that it was not asked about before: its models are fitted again")
    cpu = torch.device("cpu")
    data = load_data(config.dataset, config.transfer, cpu, smoke=run.record.smoke, batch_size=config.batch_size)
    if data.dataset.fingerprint != card.fingerprint:
        raise DataError(
            f"the data are not those that {run.path} was fitted to",
            where=f"{where}: dataset",
            fix="put back the data it was fitted to, or train it again",
        )
    fitted = _fitted(config, data, candidates_of(weights.weights), say)
    ensemble, digest = reselect(fitted, data.dataset.train.subset(data.val), weights.weights)
    if digest != sha256:
        raise _not_the_same(run.path, state.get(VERSION))
    _hold(sha256, ensemble)


def _not_the_same(path: Path, version: object) -> CheckpointError:
    here = scikit_learn_version()
    why = "its configuration was changed, or this machine rounds otherwise"
    if version != here:
        why = f"it was fitted by scikit-learn {str(version)[:40]!a}, and here is {here}"
    return CheckpointError(
        f"fitted again, the models are not those that were selected: {why}",
        where=str(path),
        fix="train it again here, or give the student only examples that it was asked about, such as its training set",
    )
