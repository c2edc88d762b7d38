"""Training a cohort from its first step, or from its last checkpoint, to its last: the loop that everything runs in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from kdcli.engine.results import EpochResult, MemberResult, Stopped
from kdcli.program.commits import Saver
from kdcli.program.session import Session
from kdcli.program.signals import StopRequest
from kdcli.program.slots import Slot
from kdcli.program.tracking import Tracking
from kdcli.report.display import Display
from kdcli.rundir import MetricsFile


def train(session: Session, display: Display, stop: StopRequest, tracking: Tracking) -> None:
    """Train until the cohort is finished or asked to stop; either way its state is saved."""
    fit = session.fit
    with ExitStack() as files:
        metrics = [files.enter_context(MetricsFile(slot.run.metrics)) for slot in session.program.slots]
        saver = Saver(session, metrics)
        for event in fit.events(stop):
            if not isinstance(event, EpochResult):
                display.tick(event)
                continue
            _write(event, session.program.slots, metrics, tracking)
            display.epoch(event)
            if fit.finished or saver.due():
                saver.save()
                display.saved()
        if not fit.finished:
            saver.save()


def _write(result: EpochResult, slots: Sequence[Slot], metrics: list[MetricsFile], tracking: Tracking) -> None:
    for member, slot, file in zip(result.members, slots, metrics, strict=True):
        if not isinstance(member, Stopped):
            line = metrics_line(result, member)
            file.append(line)
            tracking.epoch(slot, line)


def metrics_line(result: EpochResult, member: MemberResult) -> dict[str, float | int | None]:
    """A network's epoch as a line of metrics.jsonl; null where a quantity does not apply."""
    val = member.val
    return {
        "epoch": result.epoch + 1,
        "step": result.step,
        "temperature": member.temperature,
        "alpha": member.alpha,
        "lr": member.lr,
        "train/loss": member.total,
        "train/hard": member.hard,
        "train/soft": member.soft,
        "val/top1": None if val is None else val.top1,
        "val/nll": None if val is None else val.nll,
        "val/agreement": None if val is None else val.agreement,
        "seconds": result.seconds,
        "images_per_second": result.images_per_second,
    }
