"""A command line carried out by several processes, as torchrun starts them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta

from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from kdcli.engine.group import Group
from kdcli.engine.ranks import among
from kdcli.errors import MachineError
from kdcli.program.board import Board
from kdcli.program.leader import Leader, leading
from kdcli.program.signals import undisturbed

MEETING = timedelta(minutes=5)
"""How long the processes may be apart when they start."""


def carry_out(run: Callable[[], int]) -> int:
    """Run a command line in the first process, with the help of the others in its trainings.

    Args:
        run: Carries the command line out, and returns its exit code.

    Returns:
        The exit code, the same in every process.

    Raises:
        KDError: The processes do not find each other, or what went wrong in one of them when the first was gone.
    """
    store, rank, size = _meet()
    group, board = Group(rank, size, int(os.environ["LOCAL_RANK"])), Board(store, size)
    with among(group):
        if rank == 0:
            code = _lead(run, Leader(group, store, board))
        else:
            from kdcli.program.follower import follow

            code = follow(group, store, board)
    # torchrun asks all processes to end as soon as one has ended with an error; this one does already.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if group.is_open:  # what is left of a broken NCCL group could hold up the interpreter's end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _lead(run: Callable[[], int], leader: Leader) -> int:
    code = MachineError.exit_code
    try:
        with leading(leader):
            code = run()
    finally:
        with undisturbed():
            leader.dismiss(code)
    return code


def _meet() -> tuple[Store, int, int]:
    try:
        store, rank, size = next(rendezvous("env://", timeout=MEETING))
    except (RuntimeError, ValueError) as failure:
        raise MachineError(
            f"the processes do not find each other: {str(failure).splitlines()[0][:200]}",
            where="MASTER_ADDR, MASTER_PORT",
            fix="start them with torchrun: torchrun --nproc-per-node=2 -m kdcli train-teacher",
        ) from failure
    return store, rank, size
