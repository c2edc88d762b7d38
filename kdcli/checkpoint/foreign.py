"""Weights that another program wrote: a state_dict in a ``.pt`` or safetensors file, read as data and nothing else."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdcli.checkpoint.read import parse_tensors
from kdcli.disk import read_bounded
from kdcli.errors import CheckpointError
from kdcli.memory import limited_memory

MAX_BYTES = 8 * 2**30
SPARE = 2**29
MAX_PARTS = 100_000
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_MAX_WRAPPED = 4
_FIX = "save it again with torch.save(net.state_dict(), FILE), or as safetensors"


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The tensors of a state_dict by name, on the CPU; it may lie under ``state_dict``, ``model`` and such keys.

    What kind of file it is, its content says, not its name. Of a ``.pt`` only tensors and plain containers are made
    (``weights_only``), within a limit of memory.

    Raises:
        CheckpointError: It cannot be read, holds something else, or would take more memory than its size explains.
    """
    where = str(path)
    data = read_bounded(path, MAX_BYTES, error=CheckpointError, follow=True)
    with limited_memory(SPARE + 2 * len(data)):
        if data[:4] == b"PK\x03\x04":
            _check_archive(data, where)
            return _tensors(_load(data, where), where)
        if data[8:9] == b"{":  # behind the length of a safetensors header, which may be anything
            return _tensors(_parsed(data, where), where)
        if data[:1] == b"\x80":
            return _tensors(_load(data, where), where)
    raise _refused("neither a .pt file of torch.save nor a safetensors file", where)


def _parsed(data: bytes, where: str) -> dict[str, Tensor]:
    try:
        return parse_tensors(data, where)
    except CheckpointError as problem:
        raise _refused(problem.what, where) from problem


def _check_archive(data: bytes, where: str) -> None:
    """torch.save compresses nothing, so its parts together are no larger than the file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except Exception as problem:  # zipfile's own, and struct's, UnicodeError, ...
        raise _refused(f"a damaged archive: {ascii(str(problem))[:200]}", where) from problem
    if len(parts) > MAX_PARTS or any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise _refused("an archive that torch.save does not write: it is packed, or has too many parts", where)
    if sum(part.file_size for part in parts) > len(data):
        raise _refused("an archive whose parts are larger than itself", where)


def _load(data: bytes, where: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as problem:  # of a dozen types: what a broken file makes the reader do is anything
        # torch's own message advises to load the file without these limits.
        asked = re.search(r"(?:GLOBAL|global|type) ([A-Za-z_][\w.]*\.\w+)", str(problem))
        such = f", such as {asked[1][:100]}" if asked else ""
        raise _refused(f"damaged, or not a file of tensors only{such}", where) from problem


def _tensors(value: Any, where: str) -> dict[str, Tensor]:
    for _ in range(_MAX_WRAPPED):
        inner = [value[key] for key in WRAPPERS if isinstance(value, Mapping) and isinstance(value.get(key), Mapping)]
        if not inner:
            break
        value = inner[0]
    if not isinstance(value, Mapping) or not value:
        raise _refused(f"it holds a {type(value).__name__}, not a state_dict", where)
    for name, tensor in value.items():
        if not isinstance(name, str):
            raise _refused(f"{ascii(name)[:80]} is not the name of a tensor: this is no state_dict", where)
        if type(tensor) not in (Tensor, nn.Parameter):
            raise _refused(
                f"{ascii(name)[:80]} is of type {type(tensor).__name__}, no tensor: this is no state_dict", where
            )
        _check_tensor(name, tensor, where)
    return {name: tensor.detach() for name, tensor in value.items()}


def _check_tensor(name: str, tensor: Tensor, where: str) -> None:
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise _refused(f"{ascii(name)[:80]} is not a plain tensor: sparse, quantised, or larger than its data", where)


def _refused(what: str, where: str) -> CheckpointError:
    return CheckpointError(what, where=where, fix=_FIX)
