"""Images that stay on the disk until they are asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from kdcli.data.decode import Form, decode_all

CHANGED = "it is not the file that it was when kd last looked at it"
_NO_FILE = (-1, -1, -1)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """The raw inputs of a split that is too large for the memory: where ``Split`` has a tensor, it has this.

    Attributes:
        paths: The files, N of them.
        stamps: Size in bytes, and times of the last change of content and of anything, in nanoseconds; int64
            ``(N, 3)``. A file that is another one now is refused, so that what is trained on is what was checked.
        form: What each is made into.
        workers: How many processes decode; 0: this one.
        moments: Sums over the pixels of each channel, and of their squares, int64 ``(N, 2, C)``, once they are known.
    """

    paths: Sequence[Path]
    stamps: Tensor
    form: Form
    workers: int
    moments: Tensor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, C, H, W)``, as of the tensor that is not there."""
        return len(self), *self.form.shape

    @property
    def dtype(self) -> torch.dtype:
        """That of the batches."""
        return torch.uint8

    def subset(self, indices: Tensor) -> ImageFiles:
        """The images at ``indices``, int64 ``(M,)``, in that order."""
        moments = None if self.moments is None else self.moments[indices]
        paths = [self.paths[index] for index in indices.tolist()]
        return replace(self, paths=paths, stamps=self.stamps[indices], moments=moments)

    def decode(self, indices: Sequence[int], threads: int) -> tuple[Tensor, list[str | None]]:
        """Pixels, uint8 ``(B, C, H, W)``, and what is wrong with each image, None where nothing is."""
        paths = [self.paths[index] for index in indices]
        pixels, reasons = decode_all(paths, self.form, threads)
        # Looked at afterwards, so that a file which is replaced meanwhile is found out too.
        now = [_stamp(path)[:2] for path in paths]
        then = map(tuple, self.stamps[list(indices), :2].tolist())
        changed = [one != other for one, other in zip(now, then, strict=True)]
        return pixels, [why or (CHANGED if new else None) for why, new in zip(reasons, changed, strict=True)]


def image_files(paths: Sequence[Path], form: Form, workers: int) -> ImageFiles:
    """The files as they are now."""
    stamps = torch.tensor([_stamp(path) for path in paths], dtype=torch.int64).view(-1, 3)
    return ImageFiles(paths, stamps, form, workers)


def joined(first: ImageFiles, second: ImageFiles) -> ImageFiles:
    """The images of two parts of one set, neither of them surveyed yet."""
    return replace(
        first, paths=[*first.paths, *second.paths], stamps=torch.cat([first.stamps, second.stamps]), moments=None
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return _NO_FILE
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
