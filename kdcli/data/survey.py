"""One look at every image of a set that is too large for the memory: what is broken, and what the set is.

What was found is kept: as long as the files stay the same, the next command need not decode them all again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import PIL
import torch
from torch import Tensor

from kdcli.data.download import locked
from kdcli.data.files import ImageFiles
from kdcli.data.types import Split, as_bytes, begin_fingerprint, files_of
from kdcli.data.workers import Decoded, chunk_size, decoded
from kdcli.disk import cache_dir, read_bounded, write_atomic
from kdcli.errors import KDError, MachineError
from kdcli.json_io import parse_json

PROGRESS_SECONDS = 10.0
SETTLED_SECONDS = 2.0
"""A file that was changed later than that may change once more without a change of its times."""

_VERSION = 1
_DIGEST_BYTES = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Survey:
    """What a look at every image found.

    Attributes:
        fingerprint: That of the same set in memory; of no meaning where images cannot be read.
        moments: See ``ImageFiles``, of the images for training.
        unreadable: What is wrong with those that cannot be read.
    """

    fingerprint: str
    moments: Tensor
    unreadable: Mapping[Path, str]


def survey(classes: tuple[str, ...], train: Split, test: Split) -> Survey:
    """Decode every image of two splits of files once, unless that was done before and no file has changed since.

    Raises:
        MachineError: A worker that decodes was killed.
    """
    splits, started = (train, test), time.time()
    key = _key(classes, splits)
    with ExitStack() as held:
        place = None
        with suppress(MachineError, OSError, RuntimeError):  # where nothing can be kept, every command looks again
            folder = cache_dir() / "imagefolder"
            held.enter_context(locked(folder, key, "checking the same images"))
            place = folder / key
        found = None if place is None else _kept(place, splits)
        if found is not None:
            return found
        found = _look(classes, splits)
        if place is not None and started - _last_change(splits) > SETTLED_SECONDS:
            _keep(place, found, splits)
    return found


def _key(classes: tuple[str, ...], splits: Sequence[Split]) -> str:
    """A hash of everything that what is found depends on."""
    form = files_of(splits[0]).form
    about = [_VERSION, PIL.__version__, classes, form.size, form.channels, [len(split) for split in splits]]
    digest = hashlib.sha256(json.dumps(about).encode())
    for split in splits:
        for path in files_of(split).paths:
            digest.update(os.fsencode(os.path.abspath(path)) + b"\0")
        digest.update(as_bytes(files_of(split).stamps))
        digest.update(as_bytes(split.labels))
    return digest.hexdigest()[:32]


def _last_change(splits: Sequence[Split]) -> float:
    """When any of the files was changed last, in seconds since the epoch."""
    return int(torch.cat([files_of(split).stamps[:, 2] for split in splits]).max()) / 1e9


def _look(classes: tuple[str, ...], splits: Sequence[Split]) -> Survey:
    digest = begin_fingerprint("image", classes, *splits)
    moments: list[Tensor] = []
    unreadable: dict[Path, str] = {}
    said, seen, whole = time.monotonic(), 0, sum(map(len, splits))
    for split in splits:
        for paths, part in _all_of(files_of(split)):
            digest.update(as_bytes(part.pixels))
            moments.append(_moments(part.pixels))
            unreadable |= {path: why for path, why in zip(paths, part.reasons, strict=True) if why is not None}
            seen += len(paths)
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                _log.warning("checked %d of %d images", seen, whole)
        digest.update(as_bytes(split.labels))
    return Survey(digest.hexdigest(), torch.cat(moments)[: len(splits[0])], unreadable)


def _all_of(files: ImageFiles) -> Iterator[tuple[Sequence[Path], Decoded]]:
    step = chunk_size(files)
    chunks = [range(first, min(first + step, len(files))) for first in range(0, len(files), step)]
    with closing(decoded(files, chunks)) as parts:
        for chunk, part in zip(chunks, parts, strict=True):
            yield files.paths[chunk.start : chunk.stop], part


def _moments(pixels: Tensor) -> Tensor:
    """Integer sums, so that those of any part of the set are exact: ``(B, 2, C)`` from ``(B, C, H, W)``."""
    # One image at a time stays in the processor's cache: ten times as fast as all at once.
    sums = []
    for image in pixels.flatten(2):
        values = image.double()  # exact up to 2**53
        sums.append(torch.stack([values.sum(1), torch.linalg.vecdot(values, values)]))
    return torch.stack(sums).long()


def _keep(place: Path, found: Survey, splits: Sequence[Split]) -> None:
    unreadable = [(row, found.unreadable[path]) for row, path in enumerate(_paths(splits)) if path in found.unreadable]
    said = {"fingerprint": found.fingerprint, "unreadable": unreadable}
    content = json.dumps(said).encode() + b"\n" + as_bytes(found.moments)
    try:
        write_atomic(place, hashlib.sha256(content).digest() + content)
    except MachineError as problem:
        _log.warning("the next command must check the images again: %s", problem.what)


def _kept(place: Path, splits: Sequence[Split]) -> Survey | None:
    """What was found before; None where there is nothing, or where that is damaged."""
    shape = (len(splits[0]), 2, files_of(splits[0]).form.channels)
    try:
        data = read_bounded(place, 2**20 + 2**10 * sum(map(len, splits)), error=MachineError)
        content = data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != data[:_DIGEST_BYTES]:
            return None
        said, _, numbers = content.partition(b"\n")
        about = parse_json(said, where=str(place), error=MachineError)
        moments = torch.frombuffer(bytearray(numbers), dtype=torch.int64).view(shape)
        paths = _paths(splits)
        return Survey(str(about["fingerprint"]), moments, {paths[row]: str(why) for row, why in about["unreadable"]})
    except (KDError, ValueError, TypeError, LookupError, RuntimeError):
        return None


def _paths(splits: Sequence[Split]) -> list[Path]:
    return [path for split in splits for path in files_of(split).paths]
