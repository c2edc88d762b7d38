"""What a training would need: memory and time, judged by its first batches, and room on the disk."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from kdcli.build import Data
from kdcli.disk import free_bytes
from kdcli.engine.bank import Bank
from kdcli.engine.fit import Fit
from kdcli.engine.results import EpochResult
from kdcli.errors import MachineError
from kdcli.report.units import duration, size
from kdcli.schema import DistillStudent, Training
from kdcli.teachers import Teacher

_COPIES = 10
"""How often weights lie on the disk at most: in best.json's checkpoint, in the last one with the optimizer's state and
the best weights, and in its successor while it is written."""

_FORWARD = 1 / 3
"""What a forward pass costs of a whole step."""


@dataclass(frozen=True)
class Needs:
    """Bytes and seconds."""

    memory: int
    disk: int
    free: int
    seconds: float

    def lines(self) -> list[str]:
        """A line each."""
        return [
            f"memory   {size(self.memory)} for the first batches",
            f"disk     at most {size(self.disk)} of {size(self.free)} that are free",
            f"time     about {duration(self.seconds)}, judged by the first batches",
        ]


def needs(
    config: Training,
    data: Data,
    bank: Bank,
    teacher: Teacher | None,
    build: Callable[[], Fit],
    steps: int,
    folder: Path,
) -> Needs:
    """Judge by a short training of two epochs, whose second one is as fast as those to come.

    Args:
        config: Of the training, for its length.
        data: All its data.
        bank: Its networks.
        teacher: Who teaches, if anybody.
        build: Makes the short training.
        steps: Of an epoch of the whole training.
        folder: Where the run would be.

    Raises:
        MachineError: The folder cannot be written to, or there is not enough room.
    """
    started = time.perf_counter()
    fit = build()
    asked = time.perf_counter() - started
    seconds = [event.seconds for event in fit.events() if isinstance(event, EpochResult)][-1]
    step = seconds / len(fit.stream.batch_sizes)
    validated = _FORWARD * step * len(data.val) / config.batch_size
    asking = asked * len(data.transfer) / fit.stream.num_examples if _keeps_answers(config, data, teacher) else 0.0
    disk = _disk(config, data, bank, teacher)
    if isinstance(config, DistillStudent) and config.targets.store is not None:
        _check_room(Path(config.targets.store), disk)
    return Needs(
        memory=_memory(data.labels.device),
        disk=disk,
        free=_check_room(folder, disk),
        seconds=config.epochs * (steps * step + validated) + asking,
    )


def _keeps_answers(config: Training, data: Data, teacher: Teacher | None) -> bool:
    return teacher is not None and isinstance(config, DistillStudent) and data.view.count <= config.epochs


def _disk(config: Training, data: Data, bank: Bank, teacher: Teacher | None) -> int:
    weights = sum(tensor.numel() * tensor.element_size() for k in range(bank.size) for tensor in bank.state(k).values())
    answers = 0
    if teacher is not None and _keeps_answers(config, data, teacher):
        answers = 4 * len(teacher.networks) * data.view.count * len(data.transfer) * data.num_classes
    return _COPIES * weights + answers


def _memory(device: torch.device) -> int:
    """The most that has been in use: on a GPU there, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _check_room(folder: Path, needed: int) -> int:
    """The free bytes of the disk that the folder is or would be on."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise MachineError(
            "nothing can be written there", where=str(there), fix="choose another place with output_dir="
        )
    free = free_bytes(there)
    if free < needed:
        raise MachineError(
            f"{size(needed)} may be needed, and {size(free)} are free",
            where=str(there),
            fix="free some space, or choose another place with output_dir=",
        )
    return free
