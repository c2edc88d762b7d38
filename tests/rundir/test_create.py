from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from kdcli.errors import CheckpointError, MachineError, UsageError
from kdcli.rundir import Contents, RunDir, create_at, create_child, create_run

_FILES = ["config.yaml", "environment.json", "overrides.yaml", "run.json"]


def test_a_new_run_is_named_by_time_and_holds_its_files_at_once(root: Path, contents: Contents) -> None:
    run = create_run(root, "train-teacher", **contents)
    assert run.path.parent == root / "train-teacher"
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", run.path.name)
    assert sorted(path.name for path in run.path.iterdir()) == _FILES
    assert json.loads((run.path / "environment.json").read_bytes()) == {"device": "cpu"}
    assert yaml.safe_load((run.path / "config.yaml").read_text()) == contents["config"]
    assert yaml.safe_load((run.path / "overrides.yaml").read_text()) == ["seed=3"]


def test_the_record_says_what_the_design_names(root: Path, contents: Contents) -> None:
    run = create_run(root, "train-teacher", **contents | {"label": "my teacher", "smoke": True})
    record = json.loads((run.path / "run.json").read_bytes())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record.pop("started"))
    assert record == {
        "schema": 1,
        "id": run.path.name,
        "command": "train-teacher",
        "label": "my teacher",
        "status": "created",
        "smoke": True,
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "ended": None,
        "argv": ["kd", "train-teacher", "seed=3"],
        "error": None,
    }
    assert RunDir.open(run.path).record == run.record


def test_32_processes_that_start_at_once_have_32_runs(root: Path, contents: Contents) -> None:
    script = "\n".join(
        [
            "import os, sys, json",
            "from pathlib import Path",
            "from kdcli.rundir import create_run",
            "contents = json.loads(sys.argv[2])",
            "gate, go = os.pipe()",
            "for _ in range(32):",
            "    if os.fork() == 0:",
            "        os.close(go)",
            "        os.read(gate, 1)",
            "        create_run(Path(sys.argv[1]), 'train-teacher', **contents)",
            "        os._exit(0)",
            "os.close(go)",
            "failed = [os.wait()[1] for _ in range(32)]",
            "sys.exit(any(failed))",
        ]
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script, str(root), json.dumps(contents)], check=True, env=environment)
    runs = list((root / "train-teacher").iterdir())
    assert len(runs) == 32
    assert {RunDir.open(path).record.id for path in runs} == {path.name for path in runs}
    assert len({RunDir.open(path).record.pid for path in runs}) == 32


def test_threads_that_get_the_same_suffix_try_another(
    root: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = iter(f"{number // 8:04x}" for number in range(10_000))
    monkeypatch.setattr("kdcli.rundir.create.secrets.token_hex", lambda _: next(few))
    monkeypatch.setattr("kdcli.disk.secrets", _RealSecrets)
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: create_run(root, "train-teacher", **contents), range(16)))
    assert len({run.path for run in runs}) == 16
    assert all(RunDir.open(run.path).record.id == run.path.name for run in runs)
    assert len(list((root / "train-teacher").iterdir())) == 16


class _RealSecrets:
    @staticmethod
    def token_hex(count: int) -> str:
        return os.urandom(count).hex()


def test_a_baseline_and_members_are_runs_of_the_same_form_inside(root: Path, contents: Contents) -> None:
    parent = create_run(root, "distill-student", **contents)
    for name in ("baseline", "members/00", "members/01"):
        child = create_child(parent, name, command="distill-student", **contents)
        assert child.path == parent.path / name
        assert child.record.id == f"{parent.record.id}/{name}"
        assert sorted(path.name for path in child.path.iterdir()) == _FILES


def test_a_run_in_a_given_directory_is_made_once(tmp_path: Path, contents: Contents) -> None:
    path = tmp_path / "studies" / "hinton" / "quick-0a1b"
    first = create_at(path, id="hinton/quick-0a1b", command="studies", **contents)
    assert RunDir.open(path).record.id == "hinton/quick-0a1b"
    with pytest.raises(MachineError, match="exists already"):
        create_at(path, id="other", command="studies", **contents)
    assert RunDir.open(path).record == first.record
    assert [entry.name for entry in path.parent.iterdir()] == ["quick-0a1b"]


@pytest.mark.parametrize("name", ["../escape", "/tmp/x", "a//b", "", "A", ".hidden", "a/../b", "-rf"])
def test_a_name_that_leads_elsewhere_is_refused_for_a_child(root: Path, contents: Contents, name: str) -> None:
    parent = create_run(root, "distill-student", **contents)
    with pytest.raises(ValueError, match="cannot name a run"):
        create_child(parent, name, command="distill-student", **contents)


def test_children_are_not_made_behind_a_symbolic_link(root: Path, tmp_path: Path, contents: Contents) -> None:
    parent = create_run(root, "distill-student", **contents)
    (tmp_path / "outside").mkdir()
    (parent.path / "members").symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match="symbolic link"):
        create_child(parent, "members/00", command="distill-student", **contents)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/kd"])
def test_an_output_directory_that_cannot_be_written_is_a_machine_error_at_once(
    tmp_path: Path, contents: Contents, place: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    started = time.monotonic()
    with pytest.raises(MachineError) as caught:
        create_run(tmp_path / place, "train-teacher", **contents)
    assert time.monotonic() - started < 2
    assert caught.value.fix is not None
    assert "output_dir=" in caught.value.fix


def test_where_nothing_may_be_written_the_directory_is_named(
    tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: int = 0o777) -> None:  # as a disk does to anybody but root
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / "train-teacher").mkdir()
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(MachineError) as caught:
        create_run(tmp_path, "train-teacher", **contents)
    assert caught.value.where == str(tmp_path / "train-teacher")


def test_a_configuration_that_could_not_be_read_back_is_refused_before_anything_is_made(
    root: Path, contents: Contents
) -> None:
    with pytest.raises(UsageError, match="not resolved") as caught:
        create_run(root, "train-teacher", **contents | {"config": {"a": {"b": "${oc.env:SECRET}"}}})
    assert caught.value.where == "a.b"
    assert not root.exists()


def test_arguments_with_bytes_that_are_no_text_are_kept_readable(root: Path, contents: Contents) -> None:
    odd = os.fsdecode(b"label=\xff")
    run = create_run(root, "train-teacher", **contents | {"argv": [odd], "overrides": [odd], "label": odd})
    record = RunDir.open(run.path).record
    assert (record.argv, record.label) == (["label=?"], "label=?")
    assert yaml.safe_load((run.path / "overrides.yaml").read_text()) == ["label=?"]


def test_everything_a_start_writes_is_synced_and_the_new_name_last(
    root: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    run = create_run(root, "train-teacher", **contents)
    assert {path.stat().st_ino for path in (run.path, *run.path.iterdir(), root, root.parent)} <= set(synced)
    assert synced[-1] == run.path.parent.stat().st_ino


def test_where_every_name_is_taken_it_gives_up(root: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdcli.rundir.create._fresh_names", lambda: iter(["a", "a", "a"]))
    create_run(root, "train-teacher", **contents)
    with pytest.raises(MachineError, match="'a' exists already"):
        create_run(root, "train-teacher", **contents)
    assert [path.name for path in (root / "train-teacher").iterdir()] == ["a"]


def test_a_rename_that_fails_for_another_reason_is_a_machine_error(
    root: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(MachineError, match="Input/output"):
        create_run(root, "train-teacher", **contents)
    assert list((root / "train-teacher").iterdir()) == []


def test_a_failed_start_leaves_nothing(root: Path, contents: Contents) -> None:
    with pytest.raises(TypeError):
        create_run(root, "train-teacher", **contents | {"environment": {"device": object()}})
    assert list((root / "train-teacher").iterdir()) == []


def test_what_a_killed_start_left_is_removed_by_the_next(root: Path, contents: Contents) -> None:
    first = create_run(root, "train-teacher", **contents)
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join()
    name = first.path.parent / f".tmp-{process.pid}-{_host_digits()}0000"
    name.mkdir()
    create_run(root, "train-teacher", **contents)
    assert not name.exists()


def _host_digits() -> str:
    return f"{zlib.crc32(os.uname().nodename.encode()) & 0xFFFF:04x}"
