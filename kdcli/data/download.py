"""Downloads that happen once, however many processes ask, and that are either whole or not there."""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from kdcli.errors import DataError, MachineError

_log = logging.getLogger(__name__)


def fetch(name: str, folder: Path, part: str) -> Path:
    """The directory ``folder/part`` of torchvision's dataset class ``name``, downloaded where it is not there.

    Raises:
        DataError: It cannot be downloaded.
        MachineError: The folder cannot be written to.
    """

    def download(root: Path) -> None:
        from kdcli.models.torchvision_shim import import_torchvision

        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            getattr(import_torchvision().datasets, name)(str(root), download=True)

    try:
        return fetch_once(folder, part, download)
    except (http.client.HTTPException, OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        raise DataError(
            f"{name} is not in {folder} and could not be downloaded: {error}",
            where="dataset.root",
            fix=f"put the unpacked set into {folder / part}, or name the folder that holds {part} in dataset.root",
        ) from error


def fetch_once(folder: Path, part: str, download: Callable[[Path], None]) -> Path:
    """The directory ``folder/part``, made by ``download(root)`` as ``root/part`` where it is not there.

    It is written under another name and renamed when it is complete: a directory with its name is whole, whenever the
    process that made it was killed. Processes that come meanwhile wait, and find it made.

    Raises:
        MachineError: The folder cannot be written to.
    """
    target = folder / part
    if target.is_dir():
        return target
    with locked(folder, part, f"downloading {part}"):
        if not target.is_dir():
            partial = folder / f".{part}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            try:
                _log.warning("downloading %s", part)
                download(partial)
                (partial / part).rename(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target


@contextlib.contextmanager
def locked(folder: Path, part: str, doing: str) -> Iterator[None]:
    """Hold the lock of ``folder/part`` while ``doing`` something; the kernel releases it with the process.

    Raises:
        MachineError: The folder cannot be written to.
    """
    import fcntl

    path = folder / f".{part}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise MachineError(
            f"cannot write to the folder of the dataset: {error}", where=str(folder), fix="name another dataset.root"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            _log.warning("waiting for process %s, which is %s", file.read().strip() or "?", doing)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
