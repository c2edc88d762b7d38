"""The other processes of a command under torchrun: silent, without files, they take part in its trainings."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from torch.distributed.distributed_c10d import Store

from kdcli.build import build_bank, load_data, pick_device
from kdcli.engine.fit import Fit
from kdcli.engine.group import Group
from kdcli.engine.ranks import PeerLostError
from kdcli.errors import DataError, MachineError
from kdcli.program.board import POLL_SECONDS, Board, Task, wait_for
from kdcli.program.fits import make_fit
from kdcli.program.handover import hand_over
from kdcli.program.run import as_recorded
from kdcli.program.signals import StopRequest, stop_request
from kdcli.program.specialists import as_generalist_sees
from kdcli.program.teaching import load_teacher
from kdcli.rundir import RunDir
from kdcli.schema import DistillStudent, Specialist, Training, parse_config

END_SECONDS = 5.0
"""How long a process that failed, or is asked to stop, waits for the first one to see to it."""

WATCH_SECONDS = 0.5
GRACE_SECONDS = 3.0
"""How long a process that waits for another one may go on to, once the command is over."""


def follow(group: Group, store: Store, board: Board) -> int:
    """Take part in the trainings of the first process until it ends, and return the exit code that it has.

    Raises:
        KDError: What went wrong here, where the first process does not say it.
    """
    over = threading.Event()
    threading.Thread(target=_leave_with_the_first, args=(board.copy(), over), daemon=True).start()
    try:
        with stop_request() as stop:
            code = _served(group, store, board, stop)
            board.leave()
    finally:
        over.set()
    return code


def _served(group: Group, store: Store, board: Board, stop: StopRequest) -> int:
    try:
        code = _serve(group, store, board, stop)
        group.close(in_step=True)
    except PeerLostError:
        group.close(in_step=False)
        return _end_of(board, stop)
    except BaseException as problem:
        error = as_recorded(problem)
        board.fail(group.rank, error)
        group.close(in_step=False)
        if not wait_for(lambda: board.was_heard() or None, END_SECONDS):
            raise error from problem
        return _end_of(board, stop)
    return code


def _end_of(board: Board, stop: StopRequest) -> int:
    """The exit code of a command that goes on, or ends, without this process."""
    try:
        while not stop():
            code = wait_for(board.exit_code, WATCH_SECONDS)
            if code is not None:
                return code
        code = wait_for(board.exit_code, END_SECONDS)
    except PeerLostError:
        code = None
    return MachineError.exit_code if code is None else code


def _leave_with_the_first(board: Board, over: threading.Event) -> None:
    """End this process when the command is over: it may wait for others where no signal reaches it."""
    while not over.wait(WATCH_SECONDS):
        try:
            code = board.exit_code()
        except PeerLostError:
            code = MachineError.exit_code
        if code is not None and not over.wait(GRACE_SECONDS):
            os._exit(code)


def _serve(group: Group, store: Store, board: Board, stop: StopRequest) -> int:
    number = 0
    while (code := board.exit_code()) is None:
        task = board.task(number)
        if task is None:
            time.sleep(POLL_SECONDS)
            continue
        fit = _prepare(task)
        board.say_ready(number)
        group.open(store, fit.stream.labels.device)
        hand_over(fit, group)
        for _ in fit.events(stop):
            pass
        number += 1
    return code


def _prepare(task: Task) -> Fit:
    """The training that the first process has, before its first step."""
    configs = [_training(task.command, each) for each in task.configs]
    config, device = configs[0], pick_device(configs[0].device)
    data = load_data(config.dataset, config.transfer, device, smoke=task.smoke, batch_size=config.batch_size)
    teacher = None
    if isinstance(config, DistillStudent | Specialist):
        runs = [RunDir.open(Path(path)) for path in task.teachers]
        ensemble = config.ensemble if isinstance(config, DistillStudent) else "arithmetic"
        loaded = load_teacher(runs, device, ensemble=ensemble, trust_code=config.trust_code, say=lambda line: None)
        teacher = loaded.teacher
        data = data if isinstance(config, DistillStudent) else as_generalist_sees(data, loaded)
    sha256 = None if teacher is None else teacher.sha256()
    if (data.dataset.fingerprint, sha256) != (task.fingerprint, task.teacher_sha256):
        raise DataError(
            "the processes of this training do not see the same data, or not the same teacher",
            where="dataset, teacher",
            fix="give all machines the same files under the same paths",
        )
    return make_fit(configs, data, build_bank(configs, data), teacher, epoch_examples=task.epoch_examples)


def _training(command: str, data: dict[str, Any]) -> Training:
    config = parse_config(command, data)
    assert isinstance(config, Training)
    return config
