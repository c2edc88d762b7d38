"""The notice board of several processes, in a store within this one."""

from __future__ import annotations

import pytest
from torch.distributed import HashStore

from kdcli.errors import DataError, KDError, Terminated
from kdcli.program.board import Board, Task, wait_for

TASK = Task(
    command="train-teacher", configs=[{"epochs": 3, "loss": {"kind": "hard"}}], smoke=False, epoch_examples=None,
    fingerprint="f", teachers=[], teacher_sha256=None,
)  # fmt: skip


@pytest.fixture
def board() -> Board:
    return Board(HashStore(), 3)


def test_a_training_is_announced_under_its_number(board: Board) -> None:
    assert board.task(0) is None
    board.post(0, TASK)
    assert board.task(0) == TASK
    assert board.task(1) is None


def test_all_others_must_be_ready(board: Board) -> None:
    board.say_ready(0)
    assert not board.all_ready(0)
    board.say_ready(0)
    assert board.all_ready(0)
    assert not board.all_ready(1)


@pytest.mark.parametrize("kind", [KDError, DataError, Terminated])
def test_a_failure_arrives_whole_and_is_marked_as_heard(board: Board, kind: type[KDError]) -> None:
    assert board.hear_failure() is None
    board.fail(2, kind("what", where="there", fix="this"))
    assert not board.was_heard()
    heard = board.hear_failure()
    assert type(heard) is kind
    assert (heard.what, heard.where, heard.fix) == ("what", "process 2: there", "this")
    assert board.was_heard()


def test_an_error_of_another_kind_arrives_as_the_nearest_that_is_known(board: Board) -> None:
    class UnknownError(DataError):
        """Of nobody else."""

    board.fail(1, UnknownError("what"))
    heard = board.hear_failure()
    assert type(heard) is DataError
    assert heard.where == "process 1"


def test_the_end_has_an_exit_code(board: Board) -> None:
    assert board.exit_code() is None
    board.end(143)
    assert board.exit_code() == 143
    assert not board.all_left()
    board.leave()
    board.leave()
    assert board.all_left()


def test_waiting_ends_with_what_is_found_or_with_the_time() -> None:
    found = iter([None, None, "it"])
    assert wait_for(lambda: next(found), 5) == "it"
    assert wait_for(lambda: None, 0.05) is None
