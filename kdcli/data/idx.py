"""The IDX format of MNIST: a magic number, the sizes, then the bytes."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor

from kdcli.errors import DataError

MAX_BYTES = 1 << 28
_UBYTE = 0x08
_DEFLATE_RATIO = 1032  # the most that deflate can shrink anything by


def read_idx(path: str | Path) -> Tensor:
    """Read an IDX file of unsigned bytes, gzip or plain by its name, into a uint8 tensor of the declared shape.

    No more than the declared size is ever unpacked, and that is at most ``MAX_BYTES``.

    Raises:
        DataError: The file is not there, not IDX, of another type than unsigned bytes, truncated, or goes on after
            the last declared byte.
    """
    path = Path(path)
    packed = path.suffix == ".gz"
    try:
        capacity = path.stat().st_size * (_DEFLATE_RATIO if packed else 1)
        with gzip.open(path) if packed else path.open("rb") as file:
            return _parse(cast(BinaryIO, file), capacity)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"cannot read the IDX file: {error}", where=str(path), fix="fetch the file again; this one is damaged"
        ) from error


def _parse(file: BinaryIO, capacity: int) -> Tensor:
    """Read header and data; ``capacity`` is the most bytes that the file can hold."""
    shape = _shape(file)
    size = math.prod(shape)
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"its header declares {size} bytes of data, allowed are 1 to {MAX_BYTES}")
    if size > capacity:
        raise ValueError(f"its header declares {size} bytes of data, more than a file of its size can hold")
    data = bytearray(size)
    found = cast(int, file.readinto(data))  # type: ignore[attr-defined]
    if found < size:
        raise ValueError(f"it is truncated: {found} of {size} bytes")
    if file.read(1):
        raise ValueError(f"it goes on after the {size} bytes that its header declares")
    return torch.frombuffer(data, dtype=torch.uint8).view(shape)


def _shape(file: BinaryIO) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[3] == 0:
        raise ValueError(f"its magic number is {magic.hex() or 'missing'}")
    if magic[2] != _UBYTE:
        raise ValueError(f"its data type is 0x{magic[2]:02x}, wanted 0x{_UBYTE:02x} (unsigned bytes)")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError("it is truncated within its header")
    return struct.unpack(f">{magic[3]}I", sizes)
