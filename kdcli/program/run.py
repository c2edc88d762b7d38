"""Running a cohort in its directories: status, signals, display and resume around the one training loop."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from kdcli.build import Data, load_dataset, pick_device
from kdcli.engine.bank import Bank
from kdcli.engine.fit import Fit
from kdcli.engine.ranks import current
from kdcli.errors import (
    DivergedError,
    Interrupted,
    KDError,
    MachineError,
    Stopped,
    UsageError,
    going_on,
    why_stopped,
)
from kdcli.program.beginning import beginning
from kdcli.program.finish import Outcome, conclude, measured, summarise
from kdcli.program.fits import make_fit
from kdcli.program.leader import with_others
from kdcli.program.restore import restore
from kdcli.program.session import Session
from kdcli.program.signals import asked_to_stop, stop_request, undisturbed
from kdcli.program.slots import Program, home_of
from kdcli.program.teaching import LoadedTeacher
from kdcli.program.tracking import Tracking
from kdcli.program.train import train
from kdcli.rundir import RunDir, RunLock, create_child, describe_environment
from kdcli.rundir.find import RESUMABLE
from kdcli.schema import Course, Evaluate, Import
from kdcli.schema.results import Summary

if TYPE_CHECKING:
    from kdcli.program.board import Task
    from kdcli.report.display import Display


@dataclass(frozen=True)
class Manner:
    """How runs are carried out, whatever they compute.

    Args:
        argv: The command line, for the record.
        overrides: Its ``key=value`` arguments.
        smoke: Two batches of every phase.
        display: Opens the display of a training: title, names of the networks, epochs, the teacher's val/top1.
        say: Shows one line.
    """

    argv: Sequence[str]
    overrides: Sequence[str]
    smoke: bool
    display: Callable[[str, Sequence[str], int, float | None], Display]
    say: Callable[[str], None]

    def contents(self, config: Course | Evaluate | Import) -> dict[str, Any]:
        """What a run directory holds from its first moment."""
        return {
            "label": None,
            "smoke": self.smoke,
            "argv": self.argv,
            "config": config.model_dump(),
            "overrides": self.overrides,
            "environment": _environment(config),
        }


def _environment(config: Course | Evaluate | Import) -> dict[str, object]:
    data = None if isinstance(config, Evaluate) else load_dataset(config.dataset).fingerprint
    described = describe_environment(str(pick_device(config.device)))
    return described | {"processes": current().size, "data_fingerprint": data}


@dataclass(frozen=True)
class Finished:
    """A cohort that has been trained: what became of each network, and what it was trained with."""

    outcomes: Sequence[Outcome]
    fit: Fit
    data: Data
    wall_seconds: float
    tracking: Tracking


def child(parent: RunDir, name: str, config: Course, manner: Manner, command: str | None = None) -> RunDir:
    """A run inside another one: the one that is there, when a program goes on, or a new one.

    Without a ``command`` it is of its parent's.
    """
    path = parent.path / name
    if (path / "run.json").exists():
        return RunDir.open(path)
    return create_child(parent, name, command=command or parent.record.command, **manner.contents(config))


def run_cohort(
    program: Program, data: Data, bank: Bank, teacher: LoadedTeacher | None, manner: Manner, *, title: str
) -> Finished:
    """Train a cohort from where its store stands, and conclude it.

    Raises:
        Interrupted: If it was asked to stop; its state is saved.
    """
    configs = [slot.config for slot in program.slots]
    asked = None if teacher is None else teacher.teacher
    fit = make_fit(configs, data, bank, asked, epoch_examples=program.epoch_examples, say=manner.say)
    sha256 = None if asked is None else asked.sha256()
    session = Session(program, fit, data, beginning(program, sha256))
    place = restore(session)
    if place is not None:
        manner.say(place)
    names = [slot.name for slot in program.slots]
    with (
        with_others(fit, lambda: _task(program, data, teacher, sha256, manner)),
        stop_request() as stop,
        manner.display(title, names, fit.plan.epochs, _teacher_top1(fit)) as display,
        _tracked(program, fit, manner) as tracking,
    ):
        train(session, display, stop, tracking)
    if not fit.finished and not stop():
        stop.receive(signal.SIGTERM, None)  # one of the other processes was asked
    if stop():  # perhaps during the very last step: then a resume does what is left to do after it
        tracking.close("interrupted")
        home = home_of(program.slots[0].run)
        raise stop.error(str(home), f"kd resume {shlex.quote(str(home))}")
    return Finished(conclude(program, fit, data), fit, data, session.clock.seconds(), tracking)


@contextmanager
def _tracked(program: Program, fit: Fit, manner: Manner) -> Iterator[Tracking]:
    """What becomes of the networks is passed on to their trackers, a failure of their training too."""
    tracking = Tracking(program, fit.step, manner.say)
    try:
        yield tracking
    except BaseException:
        tracking.close("failed")
        raise


def _task(program: Program, data: Data, teacher: LoadedTeacher | None, sha256: str | None, manner: Manner) -> Task:
    """What other processes need to know to take part."""
    from kdcli.program.board import Task

    return Task(
        command=program.slots[0].run.record.command,
        configs=[slot.config.model_dump() for slot in program.slots],
        smoke=manner.smoke,
        epoch_examples=program.epoch_examples,
        fingerprint=data.dataset.fingerprint,
        teachers=[] if teacher is None else [str(run.path.absolute()) for run in teacher.runs],
        teacher_sha256=sha256,
    )


def _teacher_top1(fit: Fit) -> float | None:
    validation = fit.validation
    if validation is None or validation.teacher_log_probs is None:
        return None
    return float((validation.teacher_log_probs.argmax(1) == validation.labels).double().mean())


def tested(outcome: Outcome, finished: Finished, teacher_log_probs: Tensor | None) -> Summary | None:
    """A network's summary, before what its command adds; of one that diverged the status is set instead."""
    try:
        _check_converged(outcome)
        test = measured(outcome, finished.data, teacher_log_probs)
    except DivergedError as error:
        outcome.slot.run.set_status("diverged", error)
        return None
    return summarise(outcome, finished.fit, finished.data, test, wall_seconds=finished.wall_seconds)


def _check_converged(outcome: Outcome) -> None:
    """Raise the error that says where a network's training left the finite numbers, if it did."""
    at, slot = outcome.standing.divergence, outcome.slot
    if at is None:
        return
    values = {"lr": at.lr, "temperature": at.temperature, "alpha": at.alpha}
    terms = {"total": at.total, "hard": at.hard, "soft": at.soft}
    shown = ", ".join(f"{name} {value:g}" for name, value in {**values, **terms}.items() if value is not None)
    raise DivergedError(
        f"the training of {slot.name} diverged in epoch {at.epoch + 1}, step {at.step}: {shown}",
        where=str(slot.run.path),
        fix="lower optimizer.lr; the weights before that step are untouched, and the last checkpoint is still there",
    )


def raise_if_diverged(run: RunDir) -> None:
    """Raise the error that a run's record holds, where it diverged."""
    error = run.record.error
    if run.record.status == "diverged" and error is not None:
        raise DivergedError(error.what, where=error.where, fix=error.fix)


@contextmanager
def recorded(runs: Sequence[RunDir]) -> Iterator[None]:
    """Hold the first of these directories, and keep the status of all of them true if what happens inside fails.

    What ends well sets its own status, when its summary is there.
    """
    with RunLock(runs[0].path):
        for run in runs:
            run.set_status("running")
        try:
            yield
        except BaseException as error:
            known = as_recorded(error)
            with undisturbed():
                for run in runs:
                    if run.record.status == "running":
                        run.set_status(_status_of(known), known)
            if isinstance(known, Interrupted) and known is not error:
                home = runs[0]
                can_go_on = home.record.command in RESUMABLE
                raise Stopped(going_on(known, str(home.path)) if can_go_on else known) from error
            if isinstance(error, SystemExit):
                raise known from error
            raise


def _status_of(error: KDError) -> Any:
    if isinstance(error, Interrupted):
        return "interrupted"
    return "diverged" if isinstance(error, DivergedError) else "failed"


def as_recorded(error: BaseException) -> KDError:
    """An error in kd's own terms."""
    if isinstance(error, KDError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return why_stopped(error)
    if isinstance(error, SystemExit):
        what = f"code in the training called sys.exit({error.code!r})"
        return UsageError(what, where="model.target", fix="raise an exception there instead")
    stop = asked_to_stop()
    if stop is not None and not isinstance(error, OSError):
        return stop
    kind = MachineError if isinstance(error, OSError) else KDError
    return kind(f"{type(error).__name__}: {error}")
