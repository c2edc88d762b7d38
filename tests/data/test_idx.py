from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdcli.data import idx
from kdcli.data.idx import read_idx
from kdcli.errors import DataError


def _idx(shape: tuple[int, ...], data: bytes, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + data


def _write(folder: Path, content: bytes, name: str = "x-idx-ubyte") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_bytes_come_back_in_their_shape(tmp_path: Path, packed: bool) -> None:
    content = _idx((2, 3, 2), bytes(range(12)))
    path = _write(tmp_path, gzip.compress(content) if packed else content, "x.gz" if packed else "x")
    assert torch.equal(read_idx(path), torch.arange(12, dtype=torch.uint8).view(2, 3, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number is missing"),
        (b"\x01\x00\x08\x01", "magic number is 01000801"),
        (b"\0\0\x08\0", "magic number is 00000800"),
        (_idx((2,), b"ab", kind=0x0D), "data type is 0x0d"),
        (b"\0\0\x08\x03\0\0\0\x01", "truncated within its header"),
        (_idx((3,), b"ab"), "more than a file of its size can hold|truncated"),
        (_idx((30,), b"ab"), "more than a file of its size can hold"),
        (_idx((2,), b"abc"), "goes on after the 2 bytes"),
        (_idx((0, 5), b""), "declares 0 bytes"),
        (_idx((2**32 - 1, 2**32 - 1), b"ab"), f"allowed are 1 to {idx.MAX_BYTES}"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path(tmp_path: Path, content: bytes, message: str) -> None:
    for path in (_write(tmp_path, content, "x"), _write(tmp_path, gzip.compress(content), "x.gz")):
        if content == _idx((30,), b"ab") and path.suffix:
            message = "truncated: 2 of 30 bytes"
        with pytest.raises(DataError, match=message) as caught:
            read_idx(path)
        assert caught.value.where == str(path)


@pytest.mark.parametrize("lost", [1, 4, 9, 20])
def test_a_truncated_gzip_file_is_refused(tmp_path: Path, lost: int) -> None:
    content = gzip.compress(_idx((200,), bytes(range(200))))
    with pytest.raises(DataError, match="ended before"):
        read_idx(_write(tmp_path, content[:-lost], "x.gz"))


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(_idx((200,), bytes(range(200)))))
    content[-8] ^= 1
    with pytest.raises(DataError, match="CRC check failed"):
        read_idx(_write(tmp_path, bytes(content), "x.gz"))


def test_a_plain_file_called_gz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Not a gzipped file"):
        read_idx(_write(tmp_path, _idx((2,), b"ab"), "x.gz"))


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_idx(tmp_path / "none.gz")


def _peak_of_refusal(path: Path, message: str) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_unpacked_no_further_than_declared(tmp_path: Path) -> None:
    bomb = _write(tmp_path, gzip.compress(_idx((1000,), bytes(50_000_000)), compresslevel=1), "bomb.gz")
    assert _peak_of_refusal(bomb, "goes on after the 1000 bytes") < 1_000_000


def test_a_large_declaration_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    small = _write(tmp_path, gzip.compress(_idx((idx.MAX_BYTES,), bytes(1000))), "small.gz")
    assert _peak_of_refusal(small, "more than a file of its size can hold") < 1_000_000


@given(st.binary(max_size=64), st.integers(0, 64), st.booleans())
def test_no_bytes_raise_anything_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, cut: int, packed: bool
) -> None:
    content = _idx((2, 3), b"abcdef")
    content = content[:cut] + noise + content[cut:]
    path = tmp_path_factory.getbasetemp() / ("noise.gz" if packed else "noise")
    path.write_bytes(gzip.compress(content) if packed and cut % 2 else content)
    try:
        found = read_idx(path)
    except DataError:
        return
    assert found.dtype == torch.uint8
