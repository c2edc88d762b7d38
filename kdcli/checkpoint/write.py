"""Writing a checkpoint so that a crash, a full disk or a power cut leaves the old one or the new one, never neither.

A commit is written under a temporary name, each file and the directory are synced, then it is renamed into place and
the parent is synced; only then does a pointer move to it, and only then may older ones be pruned.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.checkpoint.layout import (
    MANIFEST,
    STATE,
    TENSORS,
    Pointer,
    PointerName,
    check_key,
    refuse_link,
    sha256,
    step_directories,
    step_name,
    step_of,
)
from kdcli.checkpoint.read import read_verified
from kdcli.disk import (
    fsync_directory,
    make_directory,
    remove_leftovers,
    remove_tree,
    temporary_name,
    translated,
    write_file,
)
from kdcli.errors import CheckpointError, KDError
from kdcli.failpoints import reach
from kdcli.json_io import MAX_BYTES, encode_json, parse_json, write_json_atomic
from kdcli.strict import SCHEMA

if TYPE_CHECKING:
    from torch import Tensor


def commit(store: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, object]) -> Pointer:
    """Write one checkpoint; when this returns it is on the disk, though no pointer names it yet.

    A commit of the same step with the same content is kept as it is; one with another content stays beside the new one
    until it is pruned.

    Args:
        store: The `checkpoints` directory; made where it is missing.
        step: How many updates were done.
        tensors: One safetensors file for each key: "model", "state", ...
        state: Plain JSON, without NaN or infinities, at most 8 MiB.

    Raises:
        MachineError: It cannot be written; nothing of it is left.
        ValueError: `state` would not come back from JSON as it is, or a key cannot name a file.
    """
    refuse_link(store)
    make_directory(store)
    remove_leftovers(store)
    temporary = store / temporary_name()
    with translated(temporary):
        os.mkdir(temporary)
        try:
            reach("commit.begin")
            digest = _write_files(temporary, step, tensors, state)
            reach("commit.directory.fsync")
            fsync_directory(temporary)
            name = _place(store, temporary, step, digest)
        except BaseException:
            remove_tree(temporary)
            raise
        reach("commit.renamed")
        fsync_directory(store)
    reach("commit.done")
    return Pointer(dir=name, manifest_sha256=digest)


def _write_files(
    directory: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, object]
) -> str:
    entries: dict[str, dict[str, object]] = {}
    for key, table in tensors.items():
        check_key(key)
        entries[f"{key}{TENSORS}"] = _write(directory / f"{key}{TENSORS}", _serialised(table))
    entries[STATE] = _write(directory / STATE, _encoded_state(step, state))
    manifest = encode_json({"schema": SCHEMA, "step": step, "files": entries})
    return str(_write(directory / MANIFEST, manifest)["sha256"])


def _write(path: Path, data: bytes) -> dict[str, object]:
    write_file(path, data)
    return {"bytes": len(data), "sha256": sha256(data)}


def _encoded_state(step: int, state: Mapping[str, object]) -> bytes:
    content = {"schema": SCHEMA, "step": step, "state": state}
    data = encode_json(content)
    if len(data) > MAX_BYTES:
        raise ValueError(f"a state of {len(data):,} bytes; what is long belongs in a tensor")
    if parse_json(data, where=STATE, error=KDError) != content:
        raise ValueError("a state that JSON does not keep as it is: NaN, infinities, tuples and other keys than texts")
    return data


def _serialised(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    plain: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        plain[name] = tensor.detach().to("cpu").contiguous()
        storage = plain[name].untyped_storage().data_ptr()
        if storage in storages:  # safetensors refuses weights that are tied
            plain[name] = plain[name].clone()
        storages.add(storage)
    return save(plain)


def _place(store: Path, temporary: Path, step: int, digest: str) -> str:
    """Rename the commit to the first free name of its step, or drop it for one that is the same; the name."""
    for directory in step_directories(store):
        if step_of(directory.name)[0] == step and _is_same(directory, digest):
            remove_tree(temporary)
            return directory.name
    names = (step_name(step, copy) for copy in itertools.count(1))
    name = next(name for name in names if not os.path.lexists(store / name))
    reach("commit.rename")
    os.rename(temporary, store / name)
    return name


def _is_same(directory: Path, digest: str) -> bool:
    try:
        read_verified(directory, digest)
    except CheckpointError:
        return False
    return True


def point(store: Path, name: PointerName, pointer: Pointer) -> None:
    """Let last.json or best.json name a commit, durably and at once."""
    refuse_link(store)
    write_json_atomic(store / f"{name}.json", pointer.model_dump())
