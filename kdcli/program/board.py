"""The notice board of several processes: short messages in the store through which torchrun lets them meet.

The first process posts the trainings that it carries out, and with which exit code it ended; the others say when they
are ready for a training, what they failed with, and that they leave.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from torch.distributed.distributed_c10d import Store

from kdcli import errors
from kdcli.engine.group import answering
from kdcli.errors import KDError
from kdcli.strict import StrictModel

T = TypeVar("T")
POLL_SECONDS = 0.03


class Task(StrictModel):
    """A training, as the others need to know it to take part.

    Args:
        command: Whose the configurations are.
        configs: Of the networks of the cohort.
        smoke: Whether the data are cut.
        epoch_examples: See ``engine.stream.Stream``.
        fingerprint: Of the data.
        teachers: The directories of the teacher's runs, if there is a teacher.
        teacher_sha256: Of its weights.
    """

    command: str
    configs: list[dict[str, Any]]
    smoke: bool
    epoch_examples: int | None
    fingerprint: str
    teachers: list[str]
    teacher_sha256: str | None


class Board:
    """The board.

    Args:
        store: Where the messages are.
        size: How many processes there are.

    Raises:
        PeerLostError: By every method, where the store is gone with the process that held it.
    """

    def __init__(self, store: Store, size: int) -> None:
        self._store = store
        self._others = size - 1

    def copy(self) -> Board:
        """The same board, for another thread."""
        return Board(self._store.clone(), self._others + 1)  # type: ignore[attr-defined]

    def post(self, number: int, task: Task) -> None:
        """Announce a training."""
        self._set(f"task/{number}", task.model_dump_json())

    def task(self, number: int) -> Task | None:
        """The training of this number, if it has been announced."""
        text = self._get(f"task/{number}")
        return None if text is None else Task.model_validate_json(text)

    def say_ready(self, number: int) -> None:
        """This process is ready for a training."""
        self._count(f"ready/{number}", 1)

    def all_ready(self, number: int) -> bool:
        """Whether all others are."""
        return self._count(f"ready/{number}", 0) == self._others

    def fail(self, rank: int, error: KDError) -> None:
        """This process failed."""
        kind = next(each for each in type(error).__mro__ if each.__module__ == errors.__name__)
        where = f"process {rank}" + (f": {error.where}" if error.where else "")
        self._set("failure", json.dumps([kind.__name__, error.what, where, error.fix]))

    def hear_failure(self) -> KDError | None:
        """What a process failed with, if one did; that it was heard is noted."""
        text = self._get("failure")
        if text is None:
            return None
        self._set("heard", "")
        kind, what, where, fix = json.loads(text)
        found: KDError = getattr(errors, kind)(what, where=where, fix=fix)
        return found

    def was_heard(self) -> bool:
        """Whether the first process knows that one failed."""
        return self._get("heard") is not None

    def end(self, exit_code: int) -> None:
        """The command is over."""
        self._set("end", str(exit_code))

    def exit_code(self) -> int | None:
        """What the command ended with, if it is over."""
        text = self._get("end")
        return None if text is None else int(text)

    def leave(self) -> None:
        """This process will not look at the board any more."""
        self._count("left", 1)

    def all_left(self) -> bool:
        """Whether all others have left."""
        return self._count("left", 0) == self._others

    def _set(self, key: str, text: str) -> None:
        with answering():
            self._store.set(key, text)

    def _get(self, key: str) -> str | None:
        with answering():
            return self._store.get(key).decode() if self._store.check([key]) else None

    def _count(self, key: str, more: int) -> int:
        with answering():
            return self._store.add(key, more)


def wait_for(look: Callable[[], T | None], seconds: float) -> T | None:
    """Look until something is there, or for so long; signals are heard meanwhile."""
    end = time.monotonic() + seconds
    while (found := look()) is None and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return found
