"""What a checkpoint store looks like: step-directories, their manifests, and the pointers to them.

    checkpoints/
      step-000400/          model.safetensors, state.safetensors, state.json, manifest.json: complete, or not there
      step-000400-2/        the same step committed again with another content
      last.json  best.json  {"dir": "step-000400", "manifest_sha256": "..."}
      .tmp-*  .trash-*      being written, being deleted

A step-directory is known by the SHA-256 of its manifest, and that knows each file's.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from kdcli.errors import CheckpointError
from kdcli.strict import StrictModel, VersionedModel

MANIFEST = "manifest.json"
STATE = "state.json"
TENSORS = ".safetensors"
MAX_TENSOR_BYTES = 64 * 2**30

PointerName = Literal["last", "best"]
POINTERS: tuple[PointerName, ...] = ("last", "best")

_STEP = re.compile(r"step-([0-9]{6,12})(?:-([0-9]{1,6}))?")
_KEY = r"[a-z][a-z0-9_]{0,31}"

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_FileName = Annotated[str, Field(pattern=rf"^(?:{_KEY}\.safetensors|state\.json)$")]
_Step = Annotated[int, Field(ge=0, lt=10**12)]


class Pointer(StrictModel):
    """Which step-directory is meant, and the SHA-256 of its manifest."""

    dir: Annotated[str, Field(pattern=rf"^{_STEP.pattern}$")]
    manifest_sha256: _Digest


class FileEntry(StrictModel):
    """Size and SHA-256 of one file."""

    bytes: Annotated[int, Field(ge=0, le=MAX_TENSOR_BYTES)]
    sha256: _Digest


class Manifest(VersionedModel):
    """What a step-directory holds; nothing in it is parsed before all of it agrees with this."""

    step: _Step
    files: Annotated[dict[_FileName, FileEntry], Field(max_length=16)]


class StateEnvelope(VersionedModel):
    """The content of state.json."""

    step: _Step
    state: dict[str, Any]


def check_key(key: str) -> None:
    """Refuse a name that could not be a tensor file's."""
    if re.fullmatch(_KEY, key) is None:
        raise ValueError(f"{key!r} cannot name a file of a checkpoint: small letters, digits and _ only")


def sha256(data: bytes) -> str:
    """The digest that manifests and pointers hold."""
    return hashlib.sha256(data).hexdigest()


def step_name(step: int, copy: int = 1) -> str:
    """The name of a step-directory; the second of the same step has copy 2."""
    return f"step-{step:06d}" + (f"-{copy}" if copy > 1 else "")


def step_of(name: str) -> tuple[int, int]:
    """Step and copy that the name of a step-directory says."""
    match = _STEP.fullmatch(name)
    assert match is not None, name
    return int(match[1]), int(match[2] or 1)


def step_directories(store: Path) -> list[Path]:
    """The step-directories of a store, newest first, valid or not."""
    refuse_link(store)
    try:
        names = os.listdir(store)
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise CheckpointError(f"cannot be read: {problem.strerror}", where=str(store)) from problem
    found = [name for name in names if _STEP.fullmatch(name)]
    return [store / name for name in sorted(found, key=step_of, reverse=True)]


def has_commits(store: Path) -> bool:
    """Whether anything was ever committed here; where not, a resumed run starts from the beginning."""
    return bool(step_directories(store)) or any(os.path.lexists(store / f"{name}.json") for name in POINTERS)


def refuse_link(store: Path) -> None:
    """A store behind a symbolic link could be anybody's directory: nothing is read, written or deleted there."""
    if os.path.islink(store):
        raise CheckpointError("a symbolic link where checkpoints are kept", where=str(store), fix="remove it")
