from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import ModuleType

import pytest

from kdcli.checkpoint import Pointer, commit, load, point, prune, tidy
from kdcli.errors import CheckpointError


def _names(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir())


@pytest.fixture
def four(store: Path, saver: ModuleType) -> Path:
    """A store with steps 1 to 4, of which 2 is the best and 4 the last."""
    pointers = [commit(store, step, *saver.content(step)) for step in range(1, 5)]
    point(store, "best", pointers[1])
    point(store, "last", pointers[3])
    return store


def test_only_what_a_pointer_names_is_kept(four: Path, saver: ModuleType) -> None:
    prune(four)
    assert _names(four) == ["best.json", "last.json", "step-000002", "step-000004"]
    assert saver.is_same(load(four, "best", fallback=False), 2)
    assert saver.is_same(load(four, "last", fallback=False), 4)


def test_spares_are_the_newest_that_no_pointer_names(four: Path) -> None:
    prune(four, spare=1)
    assert _names(four) == ["best.json", "last.json", "step-000002", "step-000003", "step-000004"]


@pytest.mark.parametrize("pointer", ["last", "best"])
def test_a_store_with_a_damaged_pointer_is_left_as_it_is(four: Path, pointer: str) -> None:
    (four / f"{pointer}.json").write_text("{")
    before = _names(four)
    prune(four)
    assert _names(four) == before


def test_a_store_without_last_or_whose_pointer_leads_nowhere_is_left_as_it_is(four: Path) -> None:
    shutil.rmtree(four / "step-000002")
    prune(four)
    assert "step-000001" in _names(four)
    (four / "best.json").unlink()
    (four / "last.json").unlink()
    prune(four)
    assert _names(four) == ["step-000001", "step-000003", "step-000004"]


def test_symbolic_links_are_removed_and_not_followed(four: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("data")
    (four / "step-000009").symlink_to(outside)
    (four / "step-000001" / "inner").symlink_to(outside)
    (four / "step-000008").write_text("a file")
    prune(four)
    assert _names(four) == ["best.json", "last.json", "step-000002", "step-000004"]
    assert (outside / "precious").read_text() == "data"


def test_a_store_behind_a_symbolic_link_is_not_pruned(four: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(four)
    left = four / f".tmp-{2**22 + 1}-{_digits(os.uname().nodename)}0000"
    left.mkdir()
    with pytest.raises(CheckpointError, match="symbolic link"):
        prune(link)
    assert "step-000001" in _names(four)
    assert left.is_dir()


def test_other_files_are_not_touched(four: Path) -> None:
    others = ["notes.txt", "step-1", "step-000001.bak", "last.json.bak"]
    for name in others:
        (four / name).write_text("mine")
    prune(four)
    assert set(others) <= set(_names(four))


def _digits(machine: str) -> str:
    return f"{zlib.crc32(machine.encode()) & 0xFFFF:04x}"


def test_what_dead_processes_left_is_removed_and_what_live_ones_write_is_kept(four: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here, elsewhere = _digits(os.uname().nodename), _digits("another machine")
    dead, alive = process.pid, os.getpid()
    kept = [f".tmp-{alive}-{here}0000", f".trash-{alive}-{here}0000", f".tmp-{dead}-{elsewhere}0000", ".tmp-mine"]
    gone = [f".tmp-{dead}-{here}0000", f".trash-{dead}-{here}0000", f".tmp-{dead}-{elsewhere}0001"]
    for name in kept + gone:
        (four / name).mkdir()
        (four / name / "model.safetensors").write_text("half")
    os.utime(four / gone[2], (time.time() - 2 * 86400,) * 2)
    prune(four)
    assert set(_names(four)) & {*kept, *gone} == set(kept)


def test_a_link_with_the_name_of_a_leftover_is_removed_and_not_followed(four: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    left = four / f".tmp-{2**22 + 1}-{_digits(os.uname().nodename)}0000"
    left.symlink_to(tmp_path / "precious")
    prune(four)
    assert not left.is_symlink()
    assert (tmp_path / "precious").is_dir()


def test_a_temporary_of_an_earlier_process_with_the_number_of_a_live_one_is_removed(four: Path) -> None:
    left = four / f".tmp-{os.getpid()}-{_digits(os.uname().nodename)}0000"
    left.mkdir()
    os.utime(left, (time.time() - 30 * 86400,) * 2)
    prune(four)
    assert not left.exists()


def test_going_on_from_a_checkpoint_drops_what_was_committed_after_it(four: Path, saver: ModuleType) -> None:
    for step in (4, 5):
        commit(four, step, *saver.content(9) if step == 4 else saver.content(step))
    assert "step-000004-2" in _names(four)
    tidy(four)
    assert _names(four) == ["best.json", "last.json", "step-000001", "step-000002", "step-000003", "step-000004"]
    assert saver.is_same(load(four, "last", fallback=False), 4)


def test_what_a_pointer_names_is_kept_even_after_the_last(four: Path, saver: ModuleType) -> None:
    point(four, "best", commit(four, 6, *saver.content(6)))
    tidy(four)
    assert "step-000006" in _names(four)


def test_tidying_leaves_a_store_alone_whose_pointer_is_damaged_and_needs_none(four: Path, tmp_path: Path) -> None:
    point(four, "last", Pointer(dir="step-000001", manifest_sha256="0" * 64))
    (four / "best.json").write_text("{")
    before = _names(four)
    tidy(four)
    tidy(tmp_path / "none")
    assert _names(four) == before
