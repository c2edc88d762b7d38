"""Loading a checkpoint, and falling back to an older one where the newest is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.checkpoint.layout import STATE, TENSORS, PointerName, has_commits, refuse_link, step_directories
from kdcli.checkpoint.read import parse_state, parse_tensors, read_pointer, read_verified
from kdcli.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was verified.

    Attributes:
        step: How many updates it has behind it.
        tensors: The tensors of each file, on the CPU, under the keys they were committed with.
        state: The JSON part.
        path: Its step-directory.
        note: Why another checkpoint than the one asked for was taken; None where it was not.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    path: Path
    note: str | None = None


def load(store: Path, name: PointerName = "last", *, fallback: bool = True) -> Loaded:
    """The checkpoint that a pointer names, or with `fallback` the newest other one that is whole.

    Args:
        store: The `checkpoints` directory.
        name: The pointer.
        fallback: Take another checkpoint where this one is damaged, and say so in `note`.

    Raises:
        CheckpointError: Whatever is wrong with what is there.
    """
    refuse_link(store)
    if not has_commits(store):
        raise CheckpointError("no checkpoint was committed here", where=str(store), fix="run the training first")
    rejected: Path | None = None
    try:
        pointer = read_pointer(store, name)
        rejected = store / pointer.dir
        return _open(rejected, pointer.manifest_sha256)
    except CheckpointError as problem:
        if fallback:
            return _fall_back(store, name, rejected, problem)
        raise


def _open(directory: Path, manifest_sha256: str | None = None, note: str | None = None) -> Loaded:
    manifest, files = read_verified(directory, manifest_sha256)
    return Loaded(
        step=manifest.step,
        tensors={
            name.removesuffix(TENSORS): parse_tensors(data, str(directory / name))
            for name, data in files.items()
            if name != STATE
        },
        state=parse_state(files[STATE], manifest.step, str(directory / STATE)),
        path=directory,
        note=note,
    )


def _fall_back(store: Path, name: PointerName, rejected: Path | None, problem: CheckpointError) -> Loaded:
    for directory in step_directories(store):
        if directory != rejected:
            note = f"{name}.json could not be used: {problem.what} ({problem.where}); took {directory.name} instead"
            try:
                return _open(directory, note=note)
            except CheckpointError:
                continue
    fix = "no other checkpoint there is whole: restore the directory from a copy, or train again"
    raise CheckpointError(problem.what, where=problem.where, fix=fix) from problem


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors with a NaN or an infinity, which loading alone would not notice.

    Args:
        tensors: Weights by name.
        where: The checkpoint, for the error.
    """
    for name, tensor in tensors.items():
        # float8 has no isfinite of its own
        values = tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
        broken = int(values.isfinite().logical_not().sum())
        if broken:
            raise CheckpointError(
                f"{broken:,} of {tensor.numel():,} numbers in {ascii(name)[:80]} are NaN or infinite",
                where=where,
                fix="the network it was made of had diverged: choose another checkpoint, or train again",
            )
