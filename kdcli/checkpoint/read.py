"""Reading a checkpoint back, each byte verified before any is parsed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kdcli.checkpoint.layout import (
    MANIFEST,
    STATE,
    FileEntry,
    Manifest,
    Pointer,
    PointerName,
    StateEnvelope,
    sha256,
    step_of,
)
from kdcli.disk import read_bounded
from kdcli.errors import CheckpointError
from kdcli.json_io import MAX_BYTES, parse_json
from kdcli.strict import validated

if TYPE_CHECKING:
    from torch import Tensor

_MAX_HEADER_BYTES = 8 * 2**20
_MAX_POINTER_BYTES = 1024

T = TypeVar("T")


def read_pointer(store: Path, name: PointerName) -> Pointer:
    """What last.json or best.json points to."""
    path = store / f"{name}.json"
    data = read_bounded(path, _MAX_POINTER_BYTES, error=CheckpointError)
    if not data.endswith(b"\n"):
        raise CheckpointError(f"{path.name} ends in the middle of a line", where=str(path))
    return validated(Pointer, parse_json(data, where=str(path)), where=str(path))


def read_verified(directory: Path, manifest_sha256: str | None = None) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and content of every file of a step-directory, all of which agree.

    Args:
        directory: The step-directory.
        manifest_sha256: What the manifest must hash to, where a pointer says it.
    """
    manifest = read_manifest(directory, manifest_sha256)
    _check_names(directory, manifest)
    return manifest, {name: _read_file(directory / name, entry) for name, entry in manifest.files.items()}


def read_manifest(directory: Path, manifest_sha256: str | None = None) -> Manifest:
    """The manifest alone, which says nothing yet of the files; arguments as of `read_verified`."""
    _check_is_directory(directory)
    raw = read_bounded(directory / MANIFEST, MAX_BYTES, error=CheckpointError)
    if manifest_sha256 is not None and sha256(raw) != manifest_sha256:
        raise CheckpointError(f"{MANIFEST} is not the one that the pointer names (SHA-256)", where=str(directory))
    return _parse_manifest(raw, directory)


def _check_is_directory(directory: Path) -> None:
    try:
        mode = os.lstat(directory).st_mode
    except OSError as problem:
        raise CheckpointError(f"{directory.name} is missing ({problem.strerror})", where=str(directory)) from problem
    if not stat.S_ISDIR(mode):
        raise CheckpointError(f"{directory.name} is not a directory", where=str(directory))


def _parse_manifest(raw: bytes, directory: Path) -> Manifest:
    where = str(directory / MANIFEST)
    manifest = validated(Manifest, parse_json(raw, where=where), where=where)
    if STATE not in manifest.files:
        raise CheckpointError(f"{STATE} is not in the manifest", where=where)
    if step_of(directory.name)[0] != manifest.step:
        raise CheckpointError(f"the manifest is of step {manifest.step}, not of {directory.name!r}", where=where)
    return manifest


def _check_names(directory: Path, manifest: Manifest) -> None:
    try:
        found = set(os.listdir(directory))
    except OSError as problem:
        raise CheckpointError(f"cannot be read: {problem.strerror}", where=str(directory)) from problem
    expected = {*manifest.files, MANIFEST}
    if found != expected:
        missing = ", ".join(sorted(expected - found)) or "none"
        extra = ascii(sorted(found - expected)[:5])
        raise CheckpointError(f"files missing: {missing}; not in the manifest: {extra}", where=str(directory))


def _read_file(path: Path, entry: FileEntry) -> bytes:
    if path.name == STATE and entry.bytes > MAX_BYTES:
        raise CheckpointError(f"{STATE} of {entry.bytes:,} bytes, over {MAX_BYTES:,}", where=str(path))
    data = read_bounded(path, entry.bytes, error=CheckpointError)
    if len(data) != entry.bytes:
        raise CheckpointError(f"{path.name} has {len(data):,} bytes instead of {entry.bytes:,}", where=str(path))
    if sha256(data) != entry.sha256:
        raise CheckpointError(f"{path.name} is damaged: its SHA-256 differs from the manifest's", where=str(path))
    return data


def parse_state(data: bytes, step: int, where: str) -> dict[str, Any]:
    """The state in the verified content of state.json."""
    envelope = validated(StateEnvelope, parse_json(data, where=where), where=where)
    if envelope.step != step:
        raise CheckpointError(f"{STATE} is of step {envelope.step}, the manifest of step {step}", where=where)
    return envelope.state


def check_tensors(data: bytes, where: str) -> None:
    """Refuse the verified content of a file that is no safetensors; needs no torch."""
    from safetensors import deserialize

    _parsed(deserialize, data, where)


def parse_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """The tensors, on the CPU, in the verified content of a safetensors file."""
    from safetensors.torch import load

    return _parsed(load, data, where)


def _parsed(parse: Callable[[bytes], T], data: bytes, where: str) -> T:
    if int.from_bytes(data[:8], "little") > _MAX_HEADER_BYTES:
        raise CheckpointError(f"a safetensors header over {_MAX_HEADER_BYTES:,} bytes", where=where)
    try:
        return parse(data)
    except Exception as problem:  # its exceptions are of many types, some not its own
        raise CheckpointError(f"not a safetensors file: {ascii(str(problem))[:200]}", where=where) from problem
