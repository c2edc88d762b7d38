"""A cohort's checkpoints while it trains, and each network's own, cut from the cohort's when it is done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kdcli import checkpoint
from kdcli.build import Data
from kdcli.engine.fit import Fit
from kdcli.errors import CheckpointError
from kdcli.program.session import Session
from kdcli.program.slots import Program, Slot
from kdcli.rundir import MetricsFile
from kdcli.schema.card import NetworkCard
from kdcli.schema.results import Selected
from kdcli.trained import make_card

SAVE_SHARE = 0.05
"""Saving takes at most this share of the time: an epoch of a small network is shorter than its checkpoint."""

SPARE_COMMITS = 1
"""Commits that are kept besides those that last.json and best.json name, to go on from where the last is damaged."""


class Saver:
    """Commits a cohort's checkpoints: as often as its share of the time allows, and whenever it must.

    A network that trains alone needs no cohort directory: its commits are its run's own checkpoints.
    """

    def __init__(self, session: Session, metrics: Sequence[MetricsFile]) -> None:
        self._session, self._metrics = session, metrics
        self._last = time.monotonic()
        self._cost = 0.0

    def due(self) -> bool:
        """Whether enough time has passed since the last commit."""
        return time.monotonic() - self._last >= self._cost / SAVE_SHARE

    def save(self) -> None:
        """Commit everything that a later process needs to go on from here."""
        started = time.monotonic()
        for metrics in self._metrics:
            metrics.sync()
        program, fit, data = self._session.program, self._session.fit, self._session.data
        store, slots = program.store, program.slots
        state = {
            "fit": fit.state(),
            "metrics": [metrics.offset for metrics in self._metrics],
            "wall_seconds": self._session.clock.seconds(),
            "fingerprint": data.dataset.fingerprint,
            **self._session.began,
        }
        if program.alone:
            state |= _described(slots[0], data, fit.epoch - 1, fit.step)
        pointer = checkpoint.commit(store, fit.step, fit.tensors(), state)
        checkpoint.point(store, "last", pointer)
        if program.alone:
            commit_best(slots[0], fit, 0, data, pointer)
        checkpoint.prune(store, spare=SPARE_COMMITS)
        self._last = time.monotonic()
        self._cost = self._last - started


def commit_best(slot: Slot, fit: Fit, k: int, data: Data, last: checkpoint.Pointer | None) -> Selected | None:
    """Let best.json of a network's run name its best weights, which may be those that ``last`` names."""
    standing = fit.standings[k]
    if standing.best_epoch is None:
        return None
    store = slot.run.checkpoints
    if last is not None and standing.best_step == fit.step:
        pointer = last
        checkpoint.point(store, "best", pointer)
    else:
        pointer = _committed(store, standing.best_step, fit.best[k]) or _commit(
            slot, "best", fit.best[k], data, standing.best_epoch, standing.best_step
        )
    return Selected(checkpoint=pointer.dir, epoch=standing.best_epoch + 1, by="best")


def _committed(store: Path, step: int, weights: Mapping[str, Tensor]) -> checkpoint.Pointer | None:
    """What best.json names, where that is whole and holds exactly these weights of this step."""
    try:
        pointer, found = checkpoint.read_pointer(store, "best"), checkpoint.load(store, "best", fallback=False)
    except CheckpointError:
        return None
    model = found.tensors["model"]
    same = found.step == step and model.keys() == weights.keys()
    return pointer if same and all(torch.equal(model[name], weights[name].cpu()) for name in model) else None


def commit_last(program: Program, k: int, fit: Fit, data: Data) -> tuple[checkpoint.Pointer, Selected]:
    """Let last.json of a network's run name its last weights: of the last epoch, or of when it stopped early.

    The last checkpoint of a network that trained alone is there already.
    """
    standing, slot = fit.standings[k], program.slots[k]
    epoch, step = fit.epoch - 1, fit.step
    if standing.stopped_epoch is not None:
        epoch, step = standing.stopped_epoch, standing.stopped_step
    if program.alone:
        pointer = checkpoint.read_pointer(program.store, "last")
    else:
        pointer = _commit(slot, "last", fit.last_weights(k), data, epoch, step)
    return pointer, Selected(checkpoint=pointer.dir, epoch=epoch + 1, by="last")


def commit_diverged(program: Program, k: int, fit: Fit, data: Data) -> None:
    """Leave the best weights of a network that diverged, if it has any: the last ones that are known to be good."""
    slot = program.slots[k]
    best = commit_best(slot, fit, k, data, None)
    if best is not None and not program.alone:
        checkpoint.point(slot.run.checkpoints, "last", checkpoint.read_pointer(slot.run.checkpoints, "best"))


def _commit(
    slot: Slot, name: checkpoint.PointerName, weights: Mapping[str, Tensor], data: Data, epoch: int, step: int
) -> checkpoint.Pointer:
    store = slot.run.checkpoints
    pointer = checkpoint.commit(store, step, {"model": weights}, _described(slot, data, epoch, step))
    checkpoint.point(store, name, pointer)
    return pointer


def _described(slot: Slot, data: Data, epoch: int, step: int) -> dict[str, object]:
    card: NetworkCard = make_card(slot.config.model, data.dataset, data.normalization)
    return {"card": card.model_dump(), "epoch": epoch + 1, "step": step}
