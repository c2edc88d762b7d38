"""Weights from elsewhere: what is a state_dict is read, everything else is refused and runs nothing."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcli.checkpoint.foreign import read_foreign
from kdcli.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


def saved(path: Path, value: object, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_foreign(path)
    assert str(path) in str(caught.value.where)
    return caught.value.what


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        WEIGHTS,
        OrderedDict(WEIGHTS),
        {name: nn.Parameter(tensor) for name, tensor in WEIGHTS.items()},
        {"epoch": 3, "state_dict": WEIGHTS, "optimizer": {"lr": 0.1}},
        {"model": {"state_dict": WEIGHTS}},
    ],
)
def test_state_dicts_are_read_whatever_is_around_them(tmp_path: Path, value: object, zipped: bool) -> None:
    assert same(read_foreign(saved(tmp_path / "x", value, _use_new_zipfile_serialization=zipped)))


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "x.pt")
    assert same(read_foreign(tmp_path / "x.pt"))


class Gadget:
    """Runs a function where it is unpickled."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def gadgets(marker: Path) -> list[Gadget]:
    code = f"open({str(marker)!r}, 'w')"
    return [
        Gadget(os.system, f"touch {marker}"),
        Gadget(eval, code),
        Gadget(exec, code),
        Gadget(open, str(marker), "w"),
        Gadget(os.mkdir, str(marker)),
        Gadget(torch.load, str(marker)),
        Gadget(getattr, "text", "upper"),
        Gadget(bytearray, 2**40),
    ]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("number", range(8))
def test_nothing_in_a_file_is_called(tmp_path: Path, number: int, zipped: bool) -> None:
    marker = tmp_path / "marker"
    gadget = gadgets(marker)[number]
    for value in (gadget, {"state_dict": WEIGHTS, "x": gadget}):
        path = saved(tmp_path / "x.pt", value, _use_new_zipfile_serialization=zipped)
        said = refusal(path)
        assert "not a file of tensors only" in said
        assert "weights_only" not in said
    path.write_bytes(pickle.dumps(gadget, protocol=2))
    refusal(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "holds a dict"),
        ([torch.ones(1)], "holds a list"),
        ({"a": torch.ones(1), "b": 3}, "'b' is of type int, no tensor"),
        ({3: torch.ones(1)}, "3 is not the name"),
        ({"a": torch.ones(1).expand(10**12)}, "larger than its data"),
        ({"a": torch.eye(2).to_sparse()}, "sparse"),
        ({"a": torch.empty(3, device="meta")}, "not a "),
    ],
)
def test_what_is_no_state_dict_of_plain_tensors_is_refused(tmp_path: Path, value: object, said: str) -> None:
    assert said in refusal(saved(tmp_path / "x.pt", value))


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:FutureWarning")
def test_programs_and_whole_networks_are_refused(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    torch.jit.trace(net, torch.ones(1, 2)).save(tmp_path / "script.pt")
    refusal(tmp_path / "script.pt")
    refusal(saved(tmp_path / "net.pt", net))


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    plain, packed = saved(tmp_path / "x.pt", {"a": torch.zeros(10**7)}), tmp_path / "packed.pt"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert packed.stat().st_size < 10**6
    assert "packed" in refusal(packed)


def test_an_archive_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", WEIGHTS)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<II", data, at + 20, 2**31, 2**31)
    path.write_bytes(data)
    refusal(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_no_beginning_of_a_file_is_taken_for_a_whole_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.pt"
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        saved(path, WEIGHTS, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    for length in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        refusal(path)


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, struct.pack("<Q", 2**62) + b"{" + b" " * 90, struct.pack("<Q", 10**8) + b"{}"]
)
def test_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(data)
    refusal(tmp_path / "x.pt")


def test_directories_and_missing_files_are_refused(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path) or "not a regular file" in refusal(tmp_path)
    assert "is missing" in refusal(tmp_path / "nowhere.pt")
