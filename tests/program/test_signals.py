"""Asked to stop: within a training, by a second Ctrl-C, and where no training listens."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kdcli.commands.screen import as_kd_error
from kdcli.errors import Interrupted, MachineError, Stopped, Terminated, UsageError
from kdcli.program.run import Manner, recorded
from kdcli.program.signals import divisible, stop_request, terminable, undivided
from kdcli.rundir import RunDir, create_run

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@pytest.fixture
def create(configure: Callable[..., Any], manner: Manner, tmp_path: Path) -> Callable[[], RunDir]:
    contents = manner.contents(configure("train-teacher", "device=cpu"))
    return lambda: create_run(tmp_path, "train-teacher", **contents)


@pytest.fixture
def run(create: Callable[[], RunDir]) -> RunDir:
    return create()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_training_learns_of_a_signal_and_the_handler_before_it_comes_back(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with stop_request() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert [signal.getsignal(each) for each in SIGNALS] == before
    error = stop.error("a place", "kd resume")
    assert type(error) is (Interrupted if number == signal.SIGINT else Terminated)
    assert number.name in error.what


def test_a_second_ctrl_c_ends_at_once() -> None:
    def twice() -> None:
        with stop_request():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="second Ctrl-C"):
        twice()
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_where_no_training_listens_a_signal_is_an_error_with_its_exit_code(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=number.name) as caught, terminable():
        os.kill(os.getpid(), number)
    shown = as_kd_error(caught.value)
    assert (shown.exit_code, shown.fix) == (143, "start it again")  # nothing has begun that could go on
    assert signal.getsignal(number) == before


def test_code_that_catches_every_exception_does_not_go_on_after_a_signal() -> None:
    def careless() -> str:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            return "went on"
        return "not stopped"

    with pytest.raises(Stopped), terminable():
        careless()


@pytest.mark.parametrize("number", SIGNALS)
def test_an_undivided_piece_ends_before_a_signal_acts(number: signal.Signals) -> None:
    done, before = [], [signal.getsignal(each) for each in SIGNALS]

    def work() -> None:
        with undivided():
            os.kill(os.getpid(), number)
            done.append("all")
        done.append("more")

    with pytest.raises(KeyboardInterrupt), terminable():
        work()
    assert done == ["all"]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_stop_wins_over_an_error_of_the_undivided_piece() -> None:
    def work() -> None:
        with undivided():
            os.kill(os.getpid(), signal.SIGTERM)
            raise UsageError("a wrong key")

    with pytest.raises(Stopped), terminable():
        work()


@pytest.mark.parametrize("when", ["before", "within"])
def test_within_an_undivided_piece_a_divisible_one_is_stopped_at_once(when: str) -> None:
    done = []

    def work() -> None:
        with undivided():
            if when == "before":
                os.kill(os.getpid(), signal.SIGTERM)
            done.append("whole")
            with divisible():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("cut off")
            done.append("cut off")

    with pytest.raises(Stopped), terminable():
        work()
    assert done == ["whole"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_stop_that_was_swallowed_is_known_to_the_training_that_follows(number: signal.Signals) -> None:
    def swallow() -> None:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)

    with terminable():
        with stop_request() as stop:
            assert not stop()
        swallow()
        with terminable(), stop_request() as stop:
            assert stop.signal == number


def test_ctrl_c_that_a_shell_wants_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_divisible_anyway_keeps_its_handlers() -> None:
    with stop_request() as stop, divisible():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()


def test_what_fails_because_it_was_cut_short_was_interrupted() -> None:
    def cut_short(error: Exception) -> None:
        with terminable():
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
            raise error

    with pytest.raises(Stopped):
        cut_short(ImportError("initialization failed"))
    with pytest.raises(OSError, match="No space left"):
        cut_short(OSError(28, "No space left on device"))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (Interrupted("asked"), "interrupted", 130),
        (Terminated("asked"), "interrupted", 143),
        (Stopped(Terminated("asked")), "interrupted", 143),
        (OSError(28, "No space left on device"), "failed", 6),
        (MachineError("no room"), "failed", 6),
        (ZeroDivisionError(), "failed", 1),
    ],
)
def test_a_record_says_what_ended_the_run(run: RunDir, error: BaseException, status: str, code: int) -> None:
    def ended() -> None:
        with recorded([run]):
            assert RunDir.open(run.path).record.status == "running"
            raise error

    with pytest.raises((type(error), Stopped)) as caught:
        ended()
    shown = as_kd_error(caught.value)
    assert shown.exit_code == code
    if status == "interrupted" and not isinstance(error, Interrupted):
        assert (shown.where, shown.fix) == (str(run.path), f"kd resume {run.path}")
    record = RunDir.open(run.path).record
    assert record.error is not None
    assert (record.status, record.error.code) == (status, code)
    assert record.ended is not None


def test_a_run_whose_stop_turned_into_another_error_is_recorded_as_interrupted(run: RunDir) -> None:
    def half() -> None:
        with terminable(), recorded([run]):
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
            raise ImportError("initialization failed")

    with pytest.raises(Stopped) as caught:
        half()
    record = RunDir.open(run.path).record
    assert record.error is not None
    assert (record.status, record.error.code) == ("interrupted", 143)
    assert as_kd_error(caught.value).fix == f"kd resume {run.path}"


def test_what_ended_well_before_another_failed_keeps_its_status(create: Callable[[], RunDir]) -> None:
    run, other = create(), create()

    def half() -> None:
        with recorded([run, other]):
            run.set_status("finished")
            raise MachineError("no room")

    with pytest.raises(MachineError):
        half()
    assert [RunDir.open(each.path).record.status for each in (run, other)] == ["finished", "failed"]


def test_further_signals_do_not_keep_a_run_from_writing_down_how_it_ended(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunDir.set_status

    def interrupted(self: RunDir, status: Any, error: Any = None) -> None:
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        real(self, status, error)

    def stopped() -> None:
        monkeypatch.setattr(RunDir, "set_status", interrupted)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), recorded([run]):
        stopped()
    assert RunDir.open(run.path).record.status == "interrupted"


def test_code_that_calls_sys_exit_is_an_error_of_its_run_and_does_not_leave_kd(run: RunDir) -> None:
    with pytest.raises(UsageError, match=r"called sys.exit\(3\)"), recorded([run]):
        raise SystemExit(3)
    record = RunDir.open(run.path).record
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.code == 2
