from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from kdcli.errors import CheckpointError, MachineError, UsageError
from kdcli.rundir import RunLock

_HOLD = """
import sys
from pathlib import Path
from kdcli.rundir import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_works_there_until_that_one_is_gone(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with holder:
        with pytest.raises(UsageError, match=f"process {holder.pid} is working"), RunLock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with RunLock(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_process_cannot_hold_a_run_twice_but_one_after_another(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(UsageError, match=str(os.getpid())), RunLock(tmp_path):
        pass
    with RunLock(tmp_path):
        pass


def test_a_lock_file_with_other_content_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("\x1b[31m not a number")
    with RunLock(tmp_path):
        (tmp_path / ".lock").write_text("\x1b[31m not a number")
        with pytest.raises(UsageError, match="another process"), RunLock(tmp_path):
            pass


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = tmp_path / f".tmp-{process.pid}-{zlib.crc32(os.uname().nodename.encode()) & 0xFFFF:04x}0000"
    left.write_text("half a run.json")
    with RunLock(tmp_path):
        assert not left.exists()


def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointError, match="symbolic link"), RunLock(tmp_path / "run"):
        pass
    assert not (tmp_path / "outside").exists()


def test_a_file_system_without_locks_is_a_machine_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(MachineError, match="No locks available"), RunLock(tmp_path):
        pass


def test_a_lock_that_cannot_be_made_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(MachineError), RunLock(tmp_path):
        pass
    with pytest.raises(MachineError), RunLock(tmp_path / "absent"):
        pass
