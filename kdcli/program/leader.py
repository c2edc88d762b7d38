"""The first of several processes: it carries out the command, and has the others take part in every training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdcli.engine.fit import Fit
from kdcli.engine.ranks import PeerLostError
from kdcli.errors import KDError, MachineError
from kdcli.program.handover import hand_over
from kdcli.program.signals import undisturbed

if TYPE_CHECKING:
    import torch
    from torch.distributed.distributed_c10d import Store

    from kdcli.engine.group import Group
    from kdcli.program.board import Board, Task

READY_SECONDS = 1800.0
"""How long the others may take to load what a training needs."""

REASON_SECONDS = 2.0
"""How long one that is gone may have taken to say why."""

LEAVE_SECONDS = 5.0
"""How long the others may take to end."""


class Leader:
    """The command line's process, where there are others.

    Args:
        group: All processes.
        store: Where they meet.
        board: What is announced there.
    """

    def __init__(self, group: Group, store: Store, board: Board) -> None:
        self._group, self._store, self._board = group, store, board
        self._number = 0
        self.in_step = True

    @contextmanager
    def training(self, fit: Fit, task: Task) -> Iterator[None]:
        """Have the others take part in what happens inside, from where ``fit`` stands.

        Raises:
            KDError: What one of them failed with.
            MachineError: One is gone without a word, or was lost in an earlier training.
        """
        if not self.in_step:
            raise MachineError(
                "the processes of this command fell out of step when an earlier training failed",
                fix="start them again, and go on: kd resume, under torchrun or not",
            )
        self.in_step = False
        try:
            self._gather(task, fit.stream.labels.device)
            hand_over(fit, self._group)
            yield
        except PeerLostError as lost:
            with undisturbed():  # torchrun ends all processes when one is gone; why it is gone is the better news
                reason = self._reason()
            raise reason or lost from lost
        self.in_step = True
        self._number += 1

    def _gather(self, task: Task, device: torch.device) -> None:
        from kdcli.program.board import wait_for

        self._board.post(self._number, task)
        if not wait_for(self._ready, READY_SECONDS):
            raise PeerLostError("not all processes of this training got ready for it", where="torchrun")
        self._group.open(self._store, device)

    def _ready(self) -> bool | None:
        failure = self._board.hear_failure()
        if failure is not None:
            raise failure
        return self._board.all_ready(self._number) or None

    def _reason(self) -> KDError | None:
        from kdcli.program.board import wait_for

        try:
            return wait_for(self._board.hear_failure, REASON_SECONDS)
        except PeerLostError:
            return None

    def dismiss(self, exit_code: int) -> None:
        """Let the others end as this process does."""
        from kdcli.program.board import wait_for

        self._board.end(exit_code)
        self._group.close(in_step=self.in_step)
        wait_for(lambda: self._board.all_left() or None, LEAVE_SECONDS)


_current: list[Leader] = []


@contextmanager
def leading(leader: Leader) -> Iterator[None]:
    """Let every training inside be one of all processes."""
    _current.append(leader)
    try:
        yield
    finally:
        _current.pop()


@contextmanager
def with_others(fit: Fit, task: Callable[[], Task]) -> Iterator[None]:
    """Train inside together with the other processes, if there are any."""
    if not _current:
        yield
        return
    with _current[-1].training(fit, task()):
        yield
