"""Processes that decode: in order, without a trace in the training's randomness, and gone when they should be."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kdcli.data.decode import Form
from kdcli.data.files import ImageFiles, image_files
from kdcli.data.workers import chunk_size, decoded
from kdcli.errors import MachineError

Folder = Callable[..., Path]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def _files(folder: Folder, workers: int, size: int = 8) -> ImageFiles:
    return image_files(sorted(folder().rglob("*.*")), Form(size, 3), workers)


def _chunks(number: int = 60, step: int = 5) -> list[range]:
    return [range(first, min(first + step, number)) for first in range(0, number, step)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_chunks_come_in_the_order_asked(folder: Folder, workers: int) -> None:
    files = _files(folder, workers)
    chunks = [[7, 7], *_chunks(), [59], list(range(30))]
    found = list(decoded(files, chunks))
    assert len(found) == len(chunks)
    for chunk, part in zip(chunks, found, strict=True):
        assert torch.equal(part.pixels, files.decode(list(chunk), 1)[0])
        assert part.reasons == [None] * len(chunk)


def test_what_is_wrong_is_said_of_the_image_it_is_wrong_with(folder: Folder) -> None:
    files = _files(folder, 2)
    files.paths[11].write_bytes(b"no image")
    reasons = [reason for part in decoded(files, _chunks()) for reason in part.reasons]
    assert [row for row, reason in enumerate(reasons) if reason] == [11]
    assert str(reasons[11]).startswith("UnidentifiedImageError")


@pytest.mark.parametrize("workers", [0, 2])
def test_the_training_s_randomness_and_handlers_are_left_alone(folder: Folder, workers: int) -> None:
    files = _files(folder, workers)
    handlers = [signal.getsignal(number) for number in (*STOPS, signal.SIGCHLD)]
    states = torch.get_rng_state(), random.getstate()
    list(decoded(files, _chunks()))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert [signal.getsignal(number) for number in (*STOPS, signal.SIGCHLD)] == handlers
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_no_process_is_left_when_it_ends_or_is_closed(folder: Folder) -> None:
    files = _files(folder, 2)
    parts = decoded(files, _chunks())
    next(parts)
    assert len(multiprocessing.active_children()) == 2
    parts.close()
    assert multiprocessing.active_children() == []
    list(decoded(files, _chunks()))
    assert multiprocessing.active_children() == []


def test_one_chunk_is_decoded_here(folder: Folder) -> None:
    parts = decoded(_files(folder, 2), [[1, 2, 3]])
    next(parts)
    assert multiprocessing.active_children() == []


def test_workers_ignore_what_stops_a_training(folder: Folder) -> None:
    parts = decoded(_files(folder, 2), _chunks())
    found = [next(parts)]
    for worker in multiprocessing.active_children():
        for number in STOPS:
            os.kill(int(worker.pid or 0), number)
    assert len([*found, *parts]) == 12


@pytest.mark.slow
def test_a_killed_worker_is_an_error_of_the_machine(folder: Folder) -> None:
    parts = decoded(_files(folder, 2), _chunks())
    next(parts)
    victim = multiprocessing.active_children()[0]
    victim.kill()
    with pytest.raises(MachineError, match="a worker that decodes images was killed") as caught:
        list(parts)
    assert (caught.value.where, caught.value.exit_code) == ("dataset.workers", 6)
    assert "fewer workers than 2" in str(caught.value.fix)
    del caught
    gc.collect()
    assert multiprocessing.active_children() == []


def test_a_stop_during_the_start_of_the_workers_comes_after_it(folder: Folder) -> None:
    """Another thread sends the signal again and again; whenever it comes, no process is left behind."""
    files, came = _files(folder, 2), []
    former = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    going = threading.Event()

    def send() -> None:
        while not going.wait(0.001):
            os.kill(os.getpid(), signal.SIGUSR1)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(3):
            assert len(list(decoded(files, _chunks(10)))) == 2
    finally:
        going.set()
        sender.join()
        signal.signal(signal.SIGUSR1, former)
    assert came
    assert multiprocessing.active_children() == []


def test_workers_can_be_had_in_another_thread(folder: Folder) -> None:
    files, counts = _files(folder, 2), []
    thread = threading.Thread(target=lambda: counts.append(len(list(decoded(files, _chunks())))))
    thread.start()
    thread.join()
    assert counts == [12]


def test_chunks_are_small() -> None:
    def of(size: int) -> int:
        return chunk_size(ImageFiles([], torch.zeros(0, 3), Form(size, 3), 0))

    assert (of(8), of(224), of(1024), of(4096)) == (32, 32, 2, 1)


KILLED = """
import sys
from pathlib import Path
from kdcli.data.decode import Form
from kdcli.data.files import image_files
from kdcli.data.workers import decoded
import multiprocessing, time
files = image_files(sorted(Path(sys.argv[1]).rglob("*.*")), Form(8, 3), 3)
parts = decoded(files, [[0]] * 100)
next(parts)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_workers_die_with_their_parent(folder: Folder) -> None:
    command = [sys.executable, "-c", KILLED, str(folder())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = list(map(int, process.stdout.readline().split()))
        process.kill()
    assert len(workers) == 3
    end = time.monotonic() + 3
    while time.monotonic() < end and any(map(_runs, workers)):
        time.sleep(0.005)
    assert not any(map(_runs, workers))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("size", ["64k", "4k"])  # room to start the workers, and none
def test_too_little_shared_memory_is_an_error_of_the_machine(folder: Folder, tmp_path: Path, size: str) -> None:
    """As in a container that has little: it must neither hang nor die of a signal."""
    command = f'mount -t tmpfs -o size={size} none /dev/shm && "$0" "$@"'
    own_mounts = ["unshare", "-Urm", "sh", "-c"]
    if subprocess.run([*own_mounts, command, "true"], capture_output=True).returncode:
        pytest.skip("no mounts of one's own here")
    script = tmp_path / "script.py"
    script.write_text(STARTED.replace("Form(8, 3)", "Form(128, 3)"))
    line = [*own_mounts, command, sys.executable, str(script), str(folder()), "fork"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "kdcli.errors.MachineError" in done.stderr
    assert "No space left on device" in done.stderr.splitlines()[-1]


STARTED = """
import sys
from pathlib import Path
import torch.multiprocessing
from kdcli.data.decode import Form
from kdcli.data.files import image_files
from kdcli.data.workers import decoded
if __name__ == "__main__":
    torch.multiprocessing.set_start_method(sys.argv[2])
    files = image_files(sorted(Path(sys.argv[1]).rglob("*.*")), Form(8, 3), 2)
    print(sum(int(part.pixels.sum()) for part in decoded(files, [range(20), range(20, 60)])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_can_be_started_in_every_way(folder: Folder, tmp_path: Path, method: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(STARTED)
    command = [sys.executable, "-W", "error", str(script), str(root := folder()), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    files = image_files(sorted(root.rglob("*.*")), Form(8, 3), 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == int(files.decode(range(60), 1)[0].sum())
