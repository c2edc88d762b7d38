from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdcli import failpoints
from kdcli.disk import fsync_directory, make_directory, translated, write_atomic, write_file
from kdcli.errors import MachineError
from kdcli.processes import is_alive


def test_a_file_is_created_and_never_overwritten(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"first")
    with pytest.raises(MachineError, match="exists"):
        write_file(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_everything_is_written_however_little_the_system_takes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    data = bytes(range(251))
    write_atomic(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == data


def test_directories_are_made_where_they_are_missing(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b" / "c")
    make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_process_that_ended_is_not_alive_though_nobody_waited_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert is_alive(process.pid, since=time.time())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(process.pid, since=time.time())


def test_processes_of_others_and_of_systems_without_proc_count_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "kill", refuse)
    assert is_alive(os.getpid(), since=time.time())
    monkeypatch.setattr(Path, "read_text", refuse)
    assert is_alive(os.getpid(), since=0)


def test_a_file_system_that_cannot_sync_directories_is_no_obstacle() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        os.fsync(os.open("/proc/self", os.O_RDONLY))
    fsync_directory(Path("/proc/self"))


def test_a_directory_that_cannot_be_synced_for_another_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        fsync_directory(tmp_path)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.ENOTDIR, "in the way"),
        (errno.EROFS, "permissions"),
    ],
)
def test_the_advice_fits_the_error(tmp_path: Path, code: int, advice: str) -> None:
    with pytest.raises(MachineError) as caught, translated(tmp_path / "a", 1234):
        raise OSError(code, os.strerror(code))
    assert caught.value.fix is not None
    assert advice in caught.value.fix
    assert caught.value.where == str(tmp_path / "a")
    assert ("1,234 bytes needed" in caught.value.what) == (code in (errno.ENOSPC, errno.EDQUOT))


def test_a_limit_on_file_sizes_is_a_machine_error_that_says_so(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(MachineError, match=r"2,000 bytes needed"):
            write_atomic(tmp_path / "a", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


_VISIT = "from kdcli.failpoints import reach\nfor name in 'abab': reach(name); print(name, end='', flush=True)"


@pytest.mark.parametrize(
    ("failpoint", "visited", "status"),
    [(None, "abab", 0), ("x", "abab", 0), ("a", "", 137), ("b", "a", 137), ("a:2", "ab", 137), ("b:3", "abab", 0)],
)
def test_a_failpoint_ends_the_process_at_the_visit_it_counts(failpoint: str | None, visited: str, status: int) -> None:
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])} | (
        {} if failpoint is None else {"KD_FAILPOINT": failpoint}
    )
    done = subprocess.run([sys.executable, "-c", _VISIT], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (visited, status)
    assert status in (0, 128 + signal.SIGKILL)


def test_without_the_variable_a_failpoint_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KD_FAILPOINT", raising=False)
    failpoints.reach("anything")
