"""The list of runs, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import clean, shorten, wrap
from kdcli.report.units import clock, percent, plural, points, short

_GLYPHS = {
    "finished": "✓",
    "running": "▸",
    "created": "○",
    "interrupted": "‖",
    "failed": "✗",
    "diverged": "∞",
    "broken": "?",
}
_ASCII = dict(zip(_GLYPHS, "+>o=x!?", strict=True))
_COLUMNS = (
    Column("status", text=True, whole=True),
    Column("id", text=True, whole=True),
    Column("command", text=True, priority=8),
    Column("student <- teacher", text=True),
    Column("T", priority=6),
    Column("alpha", priority=7),
    Column("top-1 %"),
    Column("- teacher", priority=1),
    Column("age", priority=2),
    Column("time", priority=9),
)
_LEAST = 16
_UNITS = (("min", 60), ("h", 3600), ("d", 86400))


@dataclass(frozen=True)
class RunRow:
    """What is shown of a run, sweep, search or study; None where it does not apply.

    Args:
        id: Its name.
        path: Its directory.
        command: What was run: ``sweeps``, ``search`` or ``studies`` for more than one training.
        label: The name that the user gave, or what tells a job from the others.
        status: How it stands; ``broken`` where it cannot be read.
        smoke: It is only a trial of the machinery.
        started: When, in UTC.
        seconds: How long it took, or has taken so far.
        jobs: How many trainings a sweep or search has.
        model: The network that was trained; of evaluations those that were measured.
        dataset: What on.
        seed: Of the training.
        teacher: Its teacher's runs.
        teacher_model: What these are.
        temperature: The number, the schedule's name, or the range of a sweep.
        alpha: The same of the weight.
        val_top1: Top-1 on validation, a fraction; of a sweep that of its best setting, a mean over seeds.
        top1: The same on test.
        teacher_top1: The teacher's on test.
        remark: What came of a study.
        problem: Why it is broken.
    """

    id: str
    path: str
    command: str
    label: str | None
    status: str
    smoke: bool
    started: datetime
    seconds: float | None = None
    jobs: int | None = None
    model: str | None = None
    dataset: str | None = None
    seed: int | None = None
    teacher: Sequence[str] | None = None
    teacher_model: str | None = None
    temperature: float | str | None = None
    alpha: float | str | None = None
    val_top1: float | None = None
    top1: float | None = None
    teacher_top1: float | None = None
    remark: str | None = None
    problem: str | None = None

    @property
    def difference(self) -> float | None:
        """Top-1 on test minus the teacher's."""
        return None if self.top1 is None or self.teacher_top1 is None else self.top1 - self.teacher_top1


def runs_table(rows: Sequence[RunRow], *, total: int, width: int, encoding: str | None) -> str:
    """The runs in the given order, and what is wrong with those that are broken.

    Args:
        rows: The runs to show.
        total: How many there are.
        width: Columns of the terminal.
        encoding: Of the terminal; where it has no glyphs for the status, there are ASCII ones.
    """
    glyphs = _glyphs(encoding)
    now = datetime.now(UTC)
    blocks = [table(_COLUMNS, [_cells(row, glyphs, now, max(_LEAST, width // 4 + 4)) for row in rows], width=width)]
    if broken := [row for row in rows if row.problem is not None]:
        blocks.append("\n".join(wrap(f"broken: {row.path}: {row.problem}", width) for row in broken))
    if total > len(rows):
        blocks.append(f"{len(rows)} of {total} shown; -n 0 shows all.")
    return "\n\n".join(blocks)


def _glyphs(encoding: str | None) -> dict[str, str]:
    try:
        "".join(_GLYPHS.values()).encode(encoding or "ascii")
    except UnicodeEncodeError:
        return _ASCII
    return _GLYPHS


def _cells(row: RunRow, glyphs: dict[str, str], now: datetime, widest: int) -> Cells:
    smoke = " smoke" * row.smoke
    return [
        f"{glyphs[row.status]} {row.status}{smoke}",
        row.id,
        row.command,
        shorten(clean(_what(row)), widest),
        short(row.temperature),
        short(row.alpha),
        percent(row.top1),
        points(row.difference),
        _age((now - row.started).total_seconds()),
        clock(row.seconds) if row.seconds else "",
    ]


def _what(row: RunRow) -> str:
    """Student, teacher and what tells it from others in one text; for what is not one training, what it is."""
    if row.problem is not None:
        return f"broken: {row.problem}"
    if row.remark is not None:
        return row.remark
    names = " <- ".join(name for name in (row.model, row.teacher_model) if name)
    jobs = plural(row.jobs, "job") if row.jobs is not None else ""
    return ": ".join(text for text in (jobs, names, row.label) if text)


def _age(seconds: float) -> str:
    for unit, size in reversed(_UNITS):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now"
