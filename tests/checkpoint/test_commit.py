from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch

from kdcli.checkpoint import Loaded, commit, has_commits, load, point, read_pointer
from kdcli.disk import temporary_name
from kdcli.errors import CheckpointError, MachineError


def _tree(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_commit_is_the_four_files_that_the_design_names(store: Path, saver: ModuleType) -> None:
    pointer = commit(store, 400, *saver.content(400))
    assert pointer.dir == "step-000400"
    assert {path.name for path in (store / pointer.dir).iterdir()} == {
        "model.safetensors",
        "state.safetensors",
        "state.json",
        "manifest.json",
    }
    assert [path.name for path in store.iterdir()] == ["step-000400"]


def test_the_manifest_holds_size_and_digest_of_each_file(store: Path, saver: ModuleType) -> None:
    pointer = commit(store, 3, *saver.content(3))
    directory = store / pointer.dir
    manifest = json.loads((directory / "manifest.json").read_bytes())
    assert {"schema": manifest["schema"], "step": manifest["step"]} == {"schema": 1, "step": 3}
    for name in ("model.safetensors", "state.safetensors", "state.json"):
        data = (directory / name).read_bytes()
        assert manifest["files"].pop(name) == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert manifest["files"] == {}
    assert pointer.manifest_sha256 == hashlib.sha256((directory / "manifest.json").read_bytes()).hexdigest()


def test_a_pointer_file_is_what_the_design_shows(store: Path, saver: ModuleType) -> None:
    pointer = commit(store, 7, *saver.content(7))
    point(store, "best", pointer)
    assert json.loads((store / "best.json").read_bytes()) == {
        "dir": "step-000007",
        "manifest_sha256": pointer.manifest_sha256,
    }
    assert read_pointer(store, "best") == pointer


def test_what_is_loaded_is_what_was_committed(store: Path, saver: ModuleType) -> None:
    saver.save(store, 12)
    loaded = load(store)
    assert saver.is_same(loaded, 12)
    assert loaded.path == store / "step-000012"
    assert loaded.note is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_every_kind_of_number_keeps_its_bits(store: Path, dtype: torch.dtype) -> None:
    original = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    point(store, "last", commit(store, 0, {"model": {"x": original}}, {}))
    restored = load(store).tensors["model"]["x"]
    assert restored.dtype == dtype
    assert torch.equal(restored, original)


def test_tied_strided_and_trainable_weights_are_saved_as_their_values(store: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    table = {"a": weight, "tied": weight, "transposed": weight.T, "row": weight[1]}
    point(store, "last", commit(store, 0, {"model": table}, {}))
    restored = load(store).tensors["model"]
    assert all(torch.equal(restored[name], table[name]) for name in table)
    assert not restored["a"].requires_grad


def test_the_same_step_with_the_same_content_is_kept_as_it_is(store: Path, saver: ModuleType) -> None:
    first = commit(store, 5, *saver.content(5))
    inode = (store / first.dir).stat().st_ino
    assert commit(store, 5, *saver.content(5)) == first
    assert (store / first.dir).stat().st_ino == inode
    assert [path.name for path in store.iterdir()] == [first.dir]


def test_the_same_step_with_another_content_stands_beside_the_first(store: Path, saver: ModuleType) -> None:
    first = commit(store, 5, *saver.content(5))
    before = _tree(store / first.dir)
    second = commit(store, 5, saver.content(6)[0], {})
    assert second.dir == "step-000005-2"
    assert _tree(store / first.dir) == before
    point(store, "last", second)
    assert load(store, fallback=False).path.name == "step-000005-2"


def test_what_is_committed_again_is_found_under_any_name_of_its_step(store: Path, saver: ModuleType) -> None:
    first = commit(store, 5, *saver.content(5))
    second = commit(store, 5, saver.content(6)[0], {})
    shutil.rmtree(store / first.dir)
    assert commit(store, 5, saver.content(6)[0], {}) == second
    assert [path.name for path in store.iterdir()] == ["step-000005-2"]


def test_a_damaged_directory_of_the_same_step_is_not_taken_for_the_commit(store: Path, saver: ModuleType) -> None:
    first = commit(store, 5, *saver.content(5))
    (store / first.dir / "state.json").write_bytes(b"{}")
    second = commit(store, 5, *saver.content(5))
    assert (first.dir, second.dir) == ("step-000005", "step-000005-2")
    assert first.manifest_sha256 == second.manifest_sha256


def test_a_store_has_commits_only_after_the_first(store: Path, saver: ModuleType) -> None:
    assert not has_commits(store)
    store.mkdir(parents=True, exist_ok=True)
    (store / ".tmp-1-00000000").mkdir()
    assert not has_commits(store)
    commit(store, 1, *saver.content(1))
    assert has_commits(store)


@pytest.mark.parametrize(
    "state", [{"loss": float("nan")}, {"best": float("inf")}, {"pair": (1, 2)}, {"by_epoch": {1: 2}}]
)
def test_a_state_that_would_come_back_as_another_is_refused(store: Path, state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="JSON does not keep"):
        commit(store, 1, {}, state)
    assert list(store.iterdir()) == []


def test_a_state_over_the_limit_is_refused_before_it_could_not_be_read(store: Path) -> None:
    with pytest.raises(ValueError, match="belongs in a tensor"):
        commit(store, 1, {}, {"text": "x" * 8 * 2**20})


@pytest.mark.parametrize("key", ["../model", "Model", "a/b", "", "model.safetensors", "x" * 40])
def test_a_key_that_cannot_name_a_file_is_refused(store: Path, key: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        commit(store, 1, {key: {}}, {})


def test_a_file_in_the_way_is_a_machine_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a directory")
    with pytest.raises(MachineError) as caught:
        commit(tmp_path / "run" / "checkpoints", 1, {}, {})
    assert caught.value.where is not None
    assert str(tmp_path / "run") in caught.value.where


def test_a_store_behind_a_symbolic_link_is_refused(tmp_path: Path, store: Path, saver: ModuleType) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store.parent.mkdir()
    store.symlink_to(elsewhere)
    pointer = commit(tmp_path / "other", 1, *saver.content(1))
    untouched = elsewhere.stat().st_mtime_ns
    with pytest.raises(CheckpointError, match="symbolic link"):
        commit(store, 1, *saver.content(1))
    with pytest.raises(CheckpointError, match="symbolic link"):
        point(store, "last", pointer)
    with pytest.raises(CheckpointError, match="symbolic link"):
        load(store)
    assert list(elsewhere.iterdir()) == []
    assert elsewhere.stat().st_mtime_ns == untouched


def test_a_reader_sees_whole_checkpoints_only_while_they_are_replaced(store: Path, saver: ModuleType) -> None:
    saver.save(store, 1)
    done = threading.Event()
    seen: list[Loaded] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(load(store))
            except CheckpointError:  # pruned between the pointer and the files
                continue

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(2, 30):
        saver.save(store, step)
    done.set()
    reader.join()
    assert seen
    assert all(saver.is_same(loaded, loaded.step) for loaded in seen)


def test_a_commit_removes_what_dead_processes_left(store: Path, saver: ModuleType) -> None:
    store.mkdir(parents=True, exist_ok=True)
    dead = store / temporary_name().replace(f"-{os.getpid()}-", "-4194305-")
    dead.mkdir()
    commit(store, 1, *saver.content(1))
    assert not dead.exists()
