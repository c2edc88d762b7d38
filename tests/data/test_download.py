from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdcli.data import download
from kdcli.data.cifar import cifar10, cifar100
from kdcli.data.download import fetch_once
from kdcli.data.mnist import fashion_mnist
from kdcli.disk import cache_dir
from kdcli.errors import DataError, MachineError

SCRIPT = """
import importlib.util, sys, time
from pathlib import Path

spec = importlib.util.spec_from_file_location("download", sys.argv[1])  # alone, as its package imports torch
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

def download(root):
    (root / "part").mkdir(parents=True)
    with open(sys.argv[3], "a") as log:
        log.write("download\\n")
    for i in range(5):
        (root / "part" / str(i)).write_text("x" * 1000)
        time.sleep(float(sys.argv[4]))

target = module.fetch_once(Path(sys.argv[2]), "part", download)
assert sorted(path.name for path in target.iterdir()) == list("01234")
print("whole")
"""


def _start(folder: Path, log: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, download.__file__, str(folder), str(log), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_many_processes_download_once_and_the_others_wait(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    first = _start(folder, log, 0.3)
    _wait_for(folder / ".part.partial" / "part" / "0")
    others = [_start(folder, log, 0.3) for _ in range(7)]
    outputs = [process.communicate(timeout=60) for process in (first, *others)]
    assert [out for out, _ in outputs] == ["whole\n"] * 8
    assert log.read_text() == "download\n"
    assert any(f"waiting for process {first.pid}, which is downloading part" in err for _, err in outputs[1:])


def test_a_killed_download_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    folder, log = tmp_path / "cache", tmp_path / "log"
    killed = _start(folder, log, 60)
    _wait_for(folder / ".part.partial" / "part" / "0")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (folder / "part").exists()
    out, _ = _start(folder, log, 0).communicate(timeout=60)
    assert out == "whole\n"
    assert not (folder / ".part.partial").exists()


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    def fail(root: Path) -> None:
        (root / "part").mkdir(parents=True)
        raise OSError("HTTP Error 403: Forbidden")

    with pytest.raises(OSError, match="403"):
        fetch_once(tmp_path, "part", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".part.lock"]


def test_what_is_there_is_not_downloaded(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    assert fetch_once(tmp_path, "part", lambda root: pytest.fail("downloaded")) == tmp_path / "part"


def test_a_folder_that_cannot_be_made_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot write"):
        fetch_once(tmp_path / "file" / "folder", "part", lambda root: None)


def test_the_cache_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "kd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "kd"


@pytest.mark.parametrize(
    ("read", "part"),
    [(cifar10, "cifar-10-batches-py"), (cifar100, "cifar-100-python"), (fashion_mnist, "FashionMNIST")],
)
def test_without_a_network_a_missing_set_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], read: object, part: str
) -> None:
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        read(str(tmp_path))  # type: ignore[operator]
    assert str(tmp_path / part) in str(caught.value.fix)
    assert not (tmp_path / part).exists()
    assert capfd.readouterr().out == ""
