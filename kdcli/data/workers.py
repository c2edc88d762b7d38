"""Images decoded ahead of the training, by the processes of a DataLoader that live and die with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from kdcli.data.files import ImageFiles
from kdcli.errors import KDError, MachineError

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_CHUNK_IMAGES = 32
_CHUNK_BYTES = 2**23


class Decoded(NamedTuple):
    """Some images: uint8 ``(B, C, H, W)``, and what is wrong with each of them, None where nothing is."""

    pixels: Tensor
    reasons: list[str | None]


class _Decoder(Dataset[Decoded]):
    """Decodes the images at the positions that it is asked for; workers get a copy of it."""

    def __init__(self, files: ImageFiles) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, chunk: Sequence[int]) -> Decoded:
        if get_worker_info() is None:
            return Decoded(*self._files.decode(chunk, os.cpu_count() or 1))
        found = Decoded(*self._files.decode(chunk, 1))
        found.pixels.share_memory_()  # later, in the thread that sends it, a failure would be lost and the parent wait
        return found


def chunk_size(files: ImageFiles) -> int:
    """How many images a worker is handed at a time.

    Few, so that a batch is shared among the workers, little shared memory is taken, and a stop need not wait.
    """
    return max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // files.form.num_bytes))


def decoded(files: ImageFiles, chunks: Sequence[Sequence[int]], *, pin: bool = False) -> Generator[Decoded, None, None]:
    """Decode chunk after chunk, in this order, in ``files.workers`` processes where that is not 0.

    Nothing is drawn from torch's generator, and no process is left when this ends, is closed or fails.

    Args:
        files: The images.
        chunks: Positions of images.
        pin: Put the pixels into memory from which a GPU can copy by itself.

    Raises:
        MachineError: A worker was killed, or none can be started.
    """
    workers = min(files.workers, len(chunks)) if len(chunks) > 1 else 0
    others = set(multiprocessing.active_children())
    iterator = _start(_Decoder(files), chunks, workers, pin)
    try:
        for _ in chunks:
            yield _next(iterator, workers)
    finally:
        with _stops_postponed():
            del iterator
            for left in set(multiprocessing.active_children()) - others:
                left.kill()


def _start(decoder: _Decoder, chunks: Sequence[Sequence[int]], workers: int, pin: bool) -> Iterator[Decoded]:
    with warnings.catch_warnings():
        # More workers than processors; and threads beside a fork, whose locks no worker takes.
        warnings.simplefilter("ignore")
        # Without a generator of its own, the loader would draw from torch's.
        loader = DataLoader(
            decoder, batch_size=None, sampler=chunks, num_workers=workers, collate_fn=_as_it_is, pin_memory=pin,
            worker_init_fn=_begin_worker, generator=torch.Generator(),
        )  # fmt: skip
        if not workers:
            return iter(loader)
        try:
            with _stops_postponed(), _own_children():
                return iter(loader)
        except (OSError, RuntimeError) as problem:
            raise _machine_error(f"{workers} workers cannot be started: {problem}", workers) from problem


def _as_it_is(item: Any) -> Any:
    return item


def _begin_worker(number: int) -> None:
    """What stops a training comes to all of its processes; the parent alone answers it."""
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker that outlives its killed parent would keep the lock on the run directory, for seconds."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _next(iterator: Iterator[Decoded], workers: int) -> Decoded:
    try:
        return next(iterator)
    except KDError:
        raise
    except Exception as problem:  # of any kind: a worker that is killed while it writes leaves half an answer
        if not workers:
            raise
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[-1]  # below the worker's traceback
        raise _machine_error(f"a worker that decodes images was killed, or failed: {reason}", workers) from problem


def _machine_error(what: str, workers: int) -> MachineError:
    return MachineError(
        what,
        where="dataset.workers",
        fix="if memory was short, free some (also of /dev/shm) and go on with kd resume, "
        f"or begin with fewer workers than {workers}",
    )


@contextmanager
def _stops_postponed() -> Iterator[None]:
    """Let what stops a training wait: in the middle of a loader's start or end it would leave processes behind.

    Children inherit the mask, and keep it until they are ready to ignore these signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)

    handlers: dict[int, Any] = {}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        # The mask alone would not do: another thread may receive a signal, for which Python calls the handler here.
        for stop in _STOPS:
            handlers[stop] = signal.signal(stop, remember)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for number in came:
            signal.raise_signal(number)


@contextmanager
def _own_children() -> Iterator[None]:
    """Take back torch's handler of SIGCHLD, which raises wherever the training stands when a worker dies.

    Without it the loader finds out for itself, after 5 seconds, when it waits for that worker.
    """
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
