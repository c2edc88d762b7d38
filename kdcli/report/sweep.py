"""What came of a sweep: its jobs in groups that differ by seed alone, ranked by validation, never by the test set."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SEEDS = ("seed", "data_seed")


@dataclass(frozen=True)
class Numbers:
    """What is known of one network; None where it does not apply.

    Args:
        val_top1: Top-1 on validation of the selected checkpoint, a fraction.
        val_nll: NLL there, in nats.
        val_n: Examples of the validation part.
        test_errors: Errors on test.
        test_top1: Top-1 on test, a fraction.
        test_n: Examples of the test set.
        agreement: Agreement with the teacher on test, a fraction.
    """

    val_top1: float | None = None
    val_nll: float | None = None
    val_n: int | None = None
    test_errors: int | None = None
    test_top1: float | None = None
    test_n: int | None = None
    agreement: float | None = None


NOTHING = Numbers()


@dataclass(frozen=True)
class Reference:
    """A network that jobs are compared with.

    Args:
        name: Tells it from others of its kind.
        numbers: What it came to.
        status: Of its run.
    """

    name: str
    numbers: Numbers = NOTHING
    status: str = "finished"


@dataclass(frozen=True)
class SweepRow:
    """One job of a sweep.

    Args:
        label: Its name.
        overrides: The swept keys with this job's values, in the order of the command line.
        status: Of its run: ``finished``, ``failed``, ``diverged``, ``interrupted``, ``created``, ``running``.
        numbers: What it came to.
        dataset: Whose validation part that is.
        baseline: The same student without a teacher.
        teacher: Whom it learned from.
        p_value: McNemar's test of the job against its baseline.
        run: Its directory, as seen from the sweep's.
        reason: Why the job failed.
    """

    label: str
    overrides: Mapping[str, str]
    status: str
    numbers: Numbers = NOTHING
    dataset: str = ""
    baseline: Reference | None = None
    teacher: Reference | None = None
    p_value: float | None = None
    run: str = ""
    reason: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """The swept keys but for the seeds."""
        return {key: value for key, value in self.overrides.items() if key not in SEEDS}


@dataclass(frozen=True)
class SweepGroup:
    """The finished jobs that differ by seed only.

    Args:
        overrides: What they have in common.
        rows: The jobs.
        rank: From 1, the best on validation; equals share one. None where groups cannot be ranked.
    """

    overrides: Mapping[str, str]
    rows: Sequence[SweepRow] = field(repr=False)
    rank: int | None = None

    def values(self, name: str) -> list[float]:
        """What the jobs have of a measure."""
        return known(name, [row.numbers for row in self.rows])


@dataclass(frozen=True)
class ReferenceLine:
    """Baselines or teachers that groups have in common.

    Args:
        kind: ``baseline`` or ``teacher``.
        overrides: The settings of those groups, where other groups have other references.
        references: One a seed.
    """

    kind: str
    overrides: Mapping[str, str]
    references: Sequence[Reference]

    def values(self, name: str) -> list[float]:
        """What they have of a measure."""
        return known(name, [reference.numbers for reference in self.references])


def known(name: str, numbers: Sequence[Numbers]) -> list[float]:
    """The values of a measure that are there."""
    return [value for each in numbers if (value := getattr(each, name)) is not None]


def mean(values: Sequence[float]) -> float | None:
    """The mean, None of nothing."""
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation, None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def rank(rows: Sequence[SweepRow]) -> list[SweepGroup]:
    """Groups of finished jobs, the best first: by mean ``val/top1``, then mean ``val/nll``; else in grid order.

    Jobs whose overrides differ by ``seed`` or ``data_seed`` alone make one group; a job that was asked for twice counts
    once, as the same training again tells nothing about seeds.
    """
    groups: dict[tuple[tuple[str, str], ...], list[SweepRow]] = {}
    for row in rows:
        group = groups.setdefault(tuple(row.settings.items()), []) if row.status == "finished" else []
        if row.overrides not in [known.overrides for known in group]:
            group.append(row)
    if why_unranked(rows) is not None:
        return [SweepGroup(dict(own), jobs) for own, jobs in groups.items()]
    merits = {own: _merit(jobs) for own, jobs in groups.items()}
    ordered = sorted(groups, key=merits.__getitem__)
    places = sorted(merits.values())
    return [SweepGroup(dict(own), groups[own], 1 + places.index(merits[own])) for own in ordered]


def _merit(jobs: Sequence[SweepRow]) -> tuple[float, float]:
    numbers = [row.numbers for row in jobs]
    return -statistics.fmean(known("val_top1", numbers)), statistics.fmean(known("val_nll", numbers))


def why_unranked(rows: Sequence[SweepRow]) -> str | None:
    """Why finished jobs cannot be ranked, None where they can."""
    finished = [row for row in rows if row.status == "finished"]
    without = [row for row in finished if row.numbers.val_top1 is None or row.numbers.val_nll is None]
    if without:
        return f"{'there is' if len(without) == len(finished) else 'some jobs have'} no validation part to rank by"
    if len({(row.dataset, row.numbers.val_n) for row in finished}) > 1:
        return "the jobs have different validation parts, whose numbers cannot be compared"
    return None


def standing(groups: Sequence[SweepGroup]) -> SweepGroup | None:
    """The best group, or the first of equals; None where groups cannot be ranked."""
    return groups[0] if groups and groups[0].rank is not None else None


def margin(best: SweepGroup) -> float | None:
    """By how much top-1 on validation may differ from the best's by chance.

    Its standard deviation over seeds; for a single seed the standard error of a share of ``val_n`` examples.
    """
    values = best.values("val_top1")
    if len(values) != 1:
        return deviation(values)
    count = best.rows[0].numbers.val_n
    return math.sqrt(values[0] * (1 - values[0]) / count) if count else None


def gains(group: SweepGroup) -> list[float] | None:
    """Of each seed, top-1 on test minus that of its own baseline, fractions; None where a baseline is missing."""
    pairs = [(row.numbers.test_top1, row.baseline.numbers.test_top1) for row in group.rows if row.baseline is not None]
    found = [own - other for own, other in pairs if own is not None and other is not None]
    return found if found and len(found) == len(group.rows) else None


def reference_lines(rows: Sequence[SweepRow]) -> list[ReferenceLine]:
    """The baselines, a line for each set of them that groups share, then the teachers."""
    lines = []
    for kind in ("baseline", "teacher"):
        shared: dict[frozenset[Reference], list[Mapping[str, str]]] = {}
        for references, settings in _references(rows, kind):
            shared.setdefault(references, []).append(settings)
        for references, each in shared.items():
            own = _common(each) if len(shared) > 1 else {}
            lines.append(ReferenceLine(kind, own, sorted(references, key=lambda one: one.name)))
    return lines


def _references(rows: Sequence[SweepRow], kind: str) -> list[tuple[frozenset[Reference], Mapping[str, str]]]:
    """The references of each group that has some, and its settings."""
    groups: dict[tuple[tuple[str, str], ...], set[Reference]] = {}
    for row in rows:
        reference: Reference | None = getattr(row, kind)
        if reference is not None:
            groups.setdefault(tuple(row.settings.items()), set()).add(reference)
    return [(frozenset(references), dict(own)) for own, references in groups.items()]


def _common(settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {key: value for key, value in settings[0].items() if all(each.get(key) == value for each in settings)}
