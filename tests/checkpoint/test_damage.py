from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_unverified

from kdcli.checkpoint import check_finite, commit, load, verify
from kdcli.errors import CheckpointError

_FILES = [f"step-000002/{name}" for name in ("model.safetensors", "state.safetensors", "state.json", "manifest.json")]
_settings = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def two(store: Path, saver: ModuleType) -> Path:
    """A store with steps 1 and 2, of which last.json names 2."""
    saver.save(store, 1)
    shutil.copytree(store / "step-000001", store / "kept")
    saver.save(store, 2)
    (store / "kept").rename(store / "step-000001")
    return store


def _prefixes(data: bytes) -> Iterator[bytes]:
    return (data[:length] for length in range(len(data)))


def _flips(data: bytes) -> Iterator[bytes]:
    chance = random.Random(0)
    for index in range(len(data)):
        yield data[:index] + bytes([data[index] ^ (1 << chance.randrange(8))]) + data[index + 1 :]


def _rejected_and_replaced(store: Path, saver: ModuleType) -> bool:
    try:
        load(store, fallback=False)
    except CheckpointError:
        other = load(store)
        return other.note is not None and saver.is_same(other, other.step)
    return False


@pytest.mark.parametrize("name", [*_FILES, "last.json"])
@pytest.mark.parametrize("damage", [_prefixes, _flips])
def test_every_prefix_and_a_flipped_bit_in_every_byte_are_found_and_the_other_checkpoint_is_taken(
    two: Path, saver: ModuleType, name: str, damage: Callable[[bytes], Iterator[bytes]]
) -> None:
    path = two / name
    whole = path.read_bytes()
    silent = 0
    for damaged in damage(whole):
        path.write_bytes(damaged)
        silent += not _rejected_and_replaced(two, saver)
    assert silent == 0
    path.write_bytes(whole)
    assert load(two, fallback=False).step == 2


def test_without_verification_most_flipped_bits_would_be_silent(two: Path) -> None:
    path = two / _FILES[0]
    silent = 0
    for damaged in _flips(path.read_bytes()):
        try:
            load_unverified(damaged)
            silent += 1
        except Exception:
            continue
    assert silent > 20


def test_the_digest_is_what_finds_flipped_bits(store: Path, saver: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("write", "read"):
        monkeypatch.setattr(f"kdcli.checkpoint.{module}.sha256", lambda data: "0" * 64)
    saver.save(store, 2)
    path = store / _FILES[0]
    silent = 0
    for damaged in _flips(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            load(store, fallback=False)
            silent += 1
        except CheckpointError:
            continue
    assert silent > 20


def test_the_note_says_what_was_wrong_and_what_was_taken(two: Path) -> None:
    path = two / _FILES[0]
    path.write_bytes(path.read_bytes()[:-1])
    note = load(two).note
    assert note is not None
    assert all(part in note for part in ("last.json", "model.safetensors", "step-000002", "step-000001"))


def test_a_missing_pointer_falls_back_to_the_newest(two: Path) -> None:
    (two / "last.json").unlink()
    assert load(two).step == 2
    with pytest.raises(CheckpointError, match=r"'last.json' is missing"):
        load(two, fallback=False)


def test_where_nothing_else_is_whole_the_first_reason_is_given(two: Path) -> None:
    (two / _FILES[0]).write_bytes(b"")
    (two / "step-000001" / "state.json").unlink()
    with pytest.raises(CheckpointError, match="model.safetensors has 0 bytes") as caught:
        load(two)
    assert caught.value.fix is not None


def test_an_empty_or_absent_store_says_that_nothing_was_committed(store: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint was committed"):
        load(store)


@pytest.mark.parametrize("name", _FILES)
def test_a_file_of_another_valid_checkpoint_is_rejected(two: Path, name: str) -> None:
    shutil.copy(two / name.replace("2", "1"), two / name)
    with pytest.raises(CheckpointError):
        load(two, fallback=False)


def test_a_whole_checkpoint_under_the_name_of_another_is_rejected(two: Path) -> None:
    shutil.rmtree(two / "step-000002")
    shutil.copytree(two / "step-000001", two / "step-000002")
    with pytest.raises(CheckpointError, match="not the one that the pointer names"):
        load(two, fallback=False)
    (two / "last.json").unlink()
    assert load(two).path.name == "step-000001"


def test_the_same_step_of_another_run_is_rejected_and_not_fallen_back_to(
    two: Path, tmp_path: Path, saver: ModuleType
) -> None:
    pointer = commit(tmp_path / "other", 2, saver.content(3)[0], {})
    shutil.rmtree(two / "step-000002")
    shutil.copytree(tmp_path / "other" / pointer.dir, two / "step-000002")
    assert saver.is_same(load(two), 1)


@pytest.mark.parametrize("extra", ["notes.txt", "model.pt", "__init__.py", "sub"])
def test_a_file_that_the_manifest_does_not_list_is_rejected(two: Path, extra: str) -> None:
    path = two / "step-000002" / extra
    path.mkdir() if extra == "sub" else path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not in the manifest"):
        load(two, fallback=False)


@pytest.mark.parametrize("name", _FILES)
def test_a_missing_file_is_rejected(two: Path, name: str) -> None:
    (two / name).unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load(two, fallback=False)


@pytest.mark.parametrize("name", [*_FILES, "last.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_not_a_regular_file_is_rejected_at_once(two: Path, tmp_path: Path, name: str, kind: str) -> None:
    path = two / name
    path.rename(tmp_path / "original")
    if kind == "link":
        path.symlink_to(tmp_path / "original")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    started = time.monotonic()
    with pytest.raises(CheckpointError):
        load(two, fallback=False)
    assert time.monotonic() - started < 2


def test_a_step_directory_that_is_a_symbolic_link_is_rejected(two: Path, tmp_path: Path) -> None:
    (two / "step-000002").rename(tmp_path / "step-000002")
    (two / "step-000002").symlink_to(tmp_path / "step-000002")
    with pytest.raises(CheckpointError, match="is not a directory"):
        load(two, fallback=False)


def _rewrite(store: Path, manifest: object, files: dict[str, bytes] | None = None) -> None:
    """What an attacker can do: write any files, and a manifest and pointer whose digests are right."""
    directory = store / "step-000002"
    for name, data in (files or {}).items():
        (directory / name).write_bytes(data)
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    (directory / "manifest.json").write_bytes(data)
    pointer = {"dir": "step-000002", "manifest_sha256": hashlib.sha256(data).hexdigest()}
    (store / "last.json").write_text(json.dumps(pointer) + "\n")


def _consistent(store: Path, files: dict[str, bytes]) -> None:
    manifest = json.loads((store / "step-000002" / "manifest.json").read_bytes())
    for name, data in files.items():
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    _rewrite(store, manifest, files)


def _altered(store: Path, **changes: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((store / "step-000002" / "manifest.json").read_bytes())
    return manifest | changes


_ENTRY = {"bytes": 2, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"schema": True},
        {"schema": "1"},
        {"schema": None},
        {"step": -1},
        {"step": 2.0},
        {"step": "2"},
        {"step": 1},
        {"step": 10**13},
        {"files": {}},
        {"files": []},
        {"files": {"state.json": {"bytes": -1, "sha256": "0" * 64}}},
        {"files": {"state.json": {"bytes": 2**63, "sha256": "0" * 64}}},
        {"files": {"state.json": {"bytes": 2, "sha256": "0" * 63}}},
        {"files": {"state.json": _ENTRY, "../../escape.safetensors": _ENTRY}},
        {"files": {"state.json": _ENTRY, "/etc/passwd": _ENTRY}},
        {"files": {"state.json": _ENTRY, "model.pt": _ENTRY}},
        {"files": {"state.json": _ENTRY, "manifest.json": _ENTRY}},
        {"files": {"state.json": _ENTRY, "model.safetensors\n": _ENTRY}},
        {"files": {"state.json": _ENTRY} | {f"x{number}.safetensors": _ENTRY for number in range(20)}},
        {"_target_": "os.system"},
    ],
)
def test_a_hostile_manifest_with_the_right_digest_is_rejected(two: Path, changes: dict[str, Any]) -> None:
    _rewrite(two, _altered(two, **changes))
    with pytest.raises(CheckpointError) as caught:
        load(two, fallback=False)
    assert caught.value.where is not None
    assert str(two) in caught.value.where


@pytest.mark.parametrize("directory", ["../run", "/tmp", "step-000002/", "step-2", "step-000002\n", "step-٠٠٠٠٠٢", ""])
def test_a_pointer_to_another_place_is_rejected(two: Path, directory: str) -> None:
    pointer = json.loads((two / "last.json").read_bytes()) | {"dir": directory}
    (two / "last.json").write_text(json.dumps(pointer) + "\n")
    with pytest.raises(CheckpointError, match="not a valid Pointer"):
        load(two, fallback=False)


def _header(header: object, payload: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + payload


def _tensor(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04\x95pickle",
        (2**63).to_bytes(8, "little") + b"{}",
        (100 * 2**20).to_bytes(8, "little") + b"{}",
        (9 * 2**20).to_bytes(8, "little") + b"{}".ljust(9 * 2**20),
        _header({"t": _tensor([2**40, 2**40], [0, 0])}),
        _header({"t": _tensor([0, 2**63], [0, 0])}),
        _header({"a": _tensor([2], [0, 8]), "b": _tensor([2], [4, 12])}, bytes(12)),
        _header({"t": _tensor([2], [0, 2], "F8_E8M0")}, bytes(2)),
        _header({"t": _tensor([2], [0, 8])}, bytes(4)),
        _header({"__metadata__": {"a": 1}}),
        _header([]),
    ],
    ids=range(12),
)
def test_hostile_tensors_with_the_right_digest_are_rejected_quickly(two: Path, data: bytes) -> None:
    _consistent(two, {"model.safetensors": data})
    started = time.monotonic()
    with pytest.raises(CheckpointError):
        load(two, fallback=False)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        b'{"schema": 1, "step": 2, "state": []}',
        b'{"schema": 1, "step": 3, "state": {}}',
        b'{"schema": 1, "step": 2, "state": {"a": NaN}}',
        b'{"schema": 1, "step": 2, "state": {"a": 1e999}}',
        b'{"schema": 1, "step": 2, "state": {"a": 1, "a": 2}}',
        b'{"schema": 1, "step": 2, "state": {"a": "\\ud800"}}',
        b'{"schema": 1, "step": 2, "state": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"schema": 1, "step": 2, "state": {"a": ' + b"9" * 5000 + b"}}",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
    ],
    ids=range(12),
)
def test_a_hostile_state_with_the_right_digest_is_rejected(two: Path, data: bytes) -> None:
    _consistent(two, {"state.json": data})
    with pytest.raises(CheckpointError):
        load(two, fallback=False)


def test_a_checkpoint_without_a_state_is_rejected(two: Path) -> None:
    manifest = _altered(two)
    del manifest["files"]["state.json"]
    (two / "step-000002" / "state.json").unlink()
    _rewrite(two, manifest)
    with pytest.raises(CheckpointError, match=r"state.json is not in the manifest"):
        load(two, fallback=False)


def test_a_state_over_the_limit_is_refused_before_it_is_read(two: Path) -> None:
    _consistent(two, {"state.json": b" " * (8 * 2**20 + 1)})
    with pytest.raises(CheckpointError, match="over 8,388,608"):
        load(two, fallback=False)


def test_whichever_call_fails_while_reading_it_is_a_checkpoint_error(two: Path) -> None:
    failed = 0
    for number in range(1, 100):
        count = itertools.count(1)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "fstat", "lstat", "listdir"):
                patch.setattr(os, name, _failing(getattr(os, name), number, count))
            try:
                assert load(two, fallback=False).step == 2
            except CheckpointError:
                failed += 1
        if next(count) <= number:
            break
    assert failed > 9


def _failing(real: Callable[..., Any], number: int, count: Iterator[int]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        if next(count) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args, **options)

    return call


def test_a_file_where_the_store_should_be_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(CheckpointError, match="cannot be read: Not a directory"):
        load(tmp_path / "checkpoints")


def test_a_pointer_far_too_long_is_refused(two: Path) -> None:
    (two / "last.json").write_bytes(b" " * 2000 + (two / "last.json").read_bytes())
    with pytest.raises(CheckpointError, match="over 1,024"):
        load(two, fallback=False)


def test_a_sparse_file_of_the_size_that_the_manifest_says_is_refused_before_it_is_read(two: Path) -> None:
    with (two / "step-000002" / "model.safetensors").open("r+b") as file:
        file.truncate(65 * 2**30)
    manifest = _altered(two)
    manifest["files"]["model.safetensors"]["bytes"] = 65 * 2**30
    _rewrite(two, manifest)
    started = time.monotonic()
    with pytest.raises(CheckpointError):
        load(two, fallback=False)
    assert time.monotonic() - started < 2


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, saver: ModuleType) -> Path:
    """A store with step 2 that the examples of a property damage one after another."""
    store: Path = tmp_path_factory.mktemp("shared") / "checkpoints"
    saver.save(store, 2)
    return store


@contextmanager
def _restored(store: Path) -> Iterator[None]:
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    yield
    for path, data in before.items():
        path.write_bytes(data)


@_settings
@given(key=st.sampled_from(["schema", "step", "files", "state.json", "model.safetensors", "new"]), value=_json)
def test_any_value_at_any_key_of_a_manifest_is_a_checkpoint_error(shared: Path, key: str, value: object) -> None:
    with _restored(shared):
        manifest = _altered(shared)
        before = json.dumps(manifest)
        (manifest["files"] if "." in key else manifest)[key] = value
        _rewrite(shared, manifest)
        if json.dumps(manifest) == before:
            assert load(shared, fallback=False).step == 2
        else:
            with pytest.raises(CheckpointError):
                load(shared, fallback=False)


@_settings
@given(data=st.binary(max_size=200), name=st.sampled_from(["model.safetensors", "state.json", "manifest.json"]))
def test_any_bytes_with_the_right_digest_are_a_checkpoint_error(shared: Path, data: bytes, name: str) -> None:
    with _restored(shared):
        if name == "manifest.json":
            _rewrite(shared, data)
        else:
            _consistent(shared, {name: data})
        with pytest.raises(CheckpointError):
            load(shared)


@_settings
@given(data=st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode() + b"\n"))
def test_any_pointer_file_is_a_checkpoint_error(shared: Path, data: bytes) -> None:
    with _restored(shared):
        (shared / "last.json").write_bytes(data)
        with pytest.raises(CheckpointError):
            load(shared, fallback=False)
        assert load(shared).step == 2


def test_verify_finds_nothing_in_a_whole_store(two: Path) -> None:
    assert verify(two) == []


def test_verify_names_every_damaged_part(two: Path) -> None:
    (two / "step-000001" / "state.json").write_bytes(b"")
    (two / "step-000002" / "manifest.json").unlink()
    (two / "best.json").write_text("{")
    assert {problem.path.name for problem in verify(two)} == {"step-000001", "step-000002", "last.json", "best.json"}


def test_verify_says_where_nothing_was_committed(store: Path) -> None:
    assert [problem.path for problem in verify(store)] == [store]
    store.parent.mkdir()
    store.symlink_to("/")
    assert ["symbolic link" in problem.what for problem in verify(store)] == [True]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
def test_weights_that_are_not_finite_are_found_and_counted(value: float, dtype: torch.dtype) -> None:
    weight = torch.zeros(4, dtype=dtype)
    weight[1] = value
    with pytest.raises(CheckpointError, match=r"1 of 4 numbers in 'w'"):
        check_finite({"n": torch.ones(2), "w": weight}, "run")


def test_finite_weights_of_every_kind_pass() -> None:
    kinds = [torch.float64, torch.float32, torch.float16, torch.float8_e4m3fn, torch.int64, torch.bool]
    check_finite({str(kind): torch.ones(2).to(kind) for kind in kinds}, "run")
    check_finite({"large": torch.tensor([1e300], dtype=torch.float64), "none": torch.zeros(0)}, "run")


def test_verify_tells_apart_what_a_pointer_names_and_what_none_does(two: Path) -> None:
    for step in ("step-000001", "step-000002"):
        (two / step / "state.json").write_bytes(b"")
    spare = {problem.path.name: problem.spare for problem in verify(two)}
    assert spare == {"step-000001": True, "step-000002": False}


def test_verify_takes_a_store_with_its_best_checkpoint_only_where_that_may_be(two: Path) -> None:
    (two / "last.json").rename(two / "best.json")
    assert [problem.path.name for problem in verify(two)] == ["last.json"]
    assert verify(two, needs_last=False) == []


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_verify_finds_what_is_of_another_kind_though_its_digest_is_right(two: Path, name: str) -> None:
    _consistent(two, {name: b"\x80\x04\x95pickle"})
    assert [(problem.path.name, problem.spare) for problem in verify(two)] == [("step-000002", False)]
