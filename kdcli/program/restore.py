"""Going on: a training put back to where its newest usable checkpoint was taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from kdcli import checkpoint
from kdcli.build import Data
from kdcli.checkpoint.layout import MANIFEST, sha256, step_directories
from kdcli.checkpoint.read import read_verified
from kdcli.disk import remove_leftovers
from kdcli.engine.fit import Fit, FitState
from kdcli.errors import CheckpointError, DataError
from kdcli.program.beginning import check_same, environment_changes
from kdcli.program.session import Session
from kdcli.program.slots import Program
from kdcli.rundir import MetricsFile

_STATE_FILE = "state.safetensors"


@dataclass(frozen=True)
class _Progress:
    """What state.json says of a training, as ``commits.Saver`` wrote it."""

    fit: FitState
    metrics: Sequence[int]
    wall_seconds: float
    fingerprint: str


def restore(session: Session) -> str | None:
    """Put a fresh fit where the program's newest usable checkpoint was taken, and its metrics files with it.

    Where none is usable the training begins again.

    Returns:
        Where it goes on, and why there if not from the last checkpoint; None where nothing was committed yet.

    Raises:
        CheckpointError: The checkpoint is of another training.
        DataError: The data are not those that the training began with.
        UsageError: Nor is the configuration, or the teacher.
    """
    program, fit, data, began = session.program, session.fit, session.data, session.began
    committed = checkpoint.has_commits(program.store)
    loaded, note = _newest(program.store) if committed else (None, None)
    for store in {program.store, *(slot.run.checkpoints for slot in program.slots)}:
        checkpoint.tidy(store)
    for slot in program.slots:
        remove_leftovers(slot.run.path)
    offsets: Sequence[int] = [0] * len(program.slots)
    if loaded is not None:
        check_same({name: loaded.state.get(name) for name in began}, began, loaded.path)
        progress = _progress(loaded, program, fit, data)
        note = "; ".join(filter(None, [note, environment_changes(program, data.labels.device)])) or None
        _load(fit, loaded, progress.fit)
        offsets, session.clock.before = progress.metrics, progress.wall_seconds
    for slot, offset in zip(program.slots, offsets, strict=True):
        with MetricsFile(slot.run.metrics) as metrics:
            metrics.truncate(offset)
    if not committed:
        return None
    return _place(fit, loaded) + (f": {note}" if note else "")


def _place(fit: Fit, loaded: checkpoint.Loaded | None) -> str:
    if loaded is None:
        return "beginning again"
    if fit.finished:
        return f"nothing is left to train after step {fit.step}: going on with what follows"
    return f"going on from epoch {fit.epoch + 1}, step {fit.step}"


def _load(fit: Fit, loaded: checkpoint.Loaded, state: FitState) -> None:
    try:
        fit.load(loaded.tensors, state)
    except RuntimeError as failure:  # what torch makes of a generator's state that is none
        raise CheckpointError(f"the training's state cannot be used: {failure}", where=str(loaded.path)) from failure


def _newest(store: Path) -> tuple[checkpoint.Loaded | None, str | None]:
    """The last checkpoint, or the newest other that a training can go on from, which last.json then names."""
    try:
        return checkpoint.load(store, "last", fallback=False), None
    except CheckpointError as problem:
        reason = f"last.json could not be used: {problem.what} ({problem.where})"
    for directory in step_directories(store):
        pointer = _resumable(directory)
        if pointer is not None:
            checkpoint.point(store, "last", pointer)
            return checkpoint.load(store, "last", fallback=False), f"{reason}; took {directory.name} instead"
    return None, f"{reason}; no other checkpoint holds a training's state"


def _resumable(directory: Path) -> checkpoint.Pointer | None:
    """A pointer to a step-directory that is whole and holds more than weights."""
    try:
        manifest, _ = read_verified(directory)
        digest = sha256((directory / MANIFEST).read_bytes())
    except (CheckpointError, OSError):
        return None
    return checkpoint.Pointer(dir=directory.name, manifest_sha256=digest) if _STATE_FILE in manifest.files else None


def _progress(loaded: checkpoint.Loaded, program: Program, fit: Fit, data: Data) -> _Progress:
    """What the state says, checked against the training that is to go on."""
    where = str(loaded.path)
    wanted = {name: loaded.state.get(name) for name in ("fit", "metrics", "wall_seconds", "fingerprint")}
    try:
        progress = TypeAdapter(_Progress).validate_python(wanted)
    except ValidationError as failure:
        raise CheckpointError("the training's state cannot be read", where=where) from failure
    if progress.fingerprint != data.dataset.fingerprint:
        raise DataError(
            f"the data are not those that this training began with: their fingerprint is "
            f"{data.dataset.fingerprint[:12]}, it was {progress.fingerprint[:12]}",
            where=where,
            fix="put back the data it was trained on, or train again",
        )
    state = progress.fit
    counts = {len(program.slots), len(progress.metrics), len(state.standings), len(state.plateaus)}
    steps = len(fit.stream.batch_sizes)
    if len(counts) > 1 or not (0 <= state.epoch <= fit.plan.epochs and 0 <= state.step_in_epoch < steps):
        raise CheckpointError("the training's state is of another training", where=where)
    _check_fits(fit, loaded.tensors, where)
    return progress


def _check_fits(fit: Fit, tensors: Mapping[str, Mapping[str, Tensor]], where: str) -> None:
    expected = fit.tensors()
    found = {kind: tensors.get(kind, {}) for kind in expected}
    for k in range(fit.bank.size):
        for kept in (f"best/{k:03d}/", f"last/{k:03d}/"):
            if any(name.startswith(kept) for name in found["state"]):
                expected["state"] |= {f"{kept}{name}": tensor for name, tensor in fit.bank.state(k).items()}
    for kind, table in expected.items():
        for name in sorted(table.keys() | found[kind].keys()):
            if _form(table.get(name)) != _form(found[kind].get(name)):
                raise CheckpointError(f"{kind}/{name} does not fit this training", where=where)


def _form(tensor: Tensor | None) -> tuple[object, ...] | None:
    return None if tensor is None else (tensor.dtype, tensor.shape)
