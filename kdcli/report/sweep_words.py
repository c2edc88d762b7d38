"""What a sweep came to, in words."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from kdcli.report.sweep import (
    SweepGroup,
    SweepRow,
    deviation,
    gains,
    known,
    margin,
    rank,
    reference_lines,
    standing,
    why_unranked,
)
from kdcli.report.sweep_table import spread
from kdcli.report.text import clean
from kdcli.report.units import count, decimals, p_value, percent, plural, points
from kdcli.report.verdict import SIGNIFICANT, SMOKE

_BASELINE = "the same student without a teacher"
_BLIND = (
    "A validation part (dataset.val_fraction=0.1) would tell; to choose by the test set would spoil it as a measure."
)
_FORMULA = "Students are trained on total = (1 - alpha) * hard + alpha * soft."


def setting(overrides: Mapping[str, str]) -> str:
    """Settings as they are typed."""
    return " ".join(f"{clean(key)}={clean(value)}" for key, value in overrides.items())


def sweep_lead(rows: Sequence[SweepRow]) -> str:
    """One sentence: the best setting, and what it gained over the same student without a teacher."""
    groups = rank(rows)
    if not groups:
        return f"None of the {len(rows)} jobs finished." if len(rows) > 1 else "The job did not finish."
    if not any(row.settings for row in rows):
        return f"On test the {'student' if _is_taught(groups[0]) else 'network'} {_result(groups[0])}."
    best = standing(groups)
    if best is None:
        return f"No setting is called best: {why_unranked(rows)}."
    equals = sum(group.rank == 1 for group in groups) - 1
    level = f", level with {plural(equals, 'other')}," if equals else ""
    what = f"the best of {len(groups)} settings on validation" if len(groups) > 1 else "the only setting that finished"
    return f"{setting(best.overrides)}{level} is {what}, and on test it {_result(best)}."


def _is_taught(group: SweepGroup) -> bool:
    return group.rows[0].teacher is not None


def _result(group: SweepGroup) -> str:
    """What the jobs of a setting do on test, as the rest of a sentence."""
    gained = gains(group)
    own, of = _mean_errors(group.values("test_errors")), count(group.rows[0].numbers.test_n)
    if gained is None:
        unknown = "; there is no baseline, so what distillation gained is unknown" * _is_taught(group)
        return (
            f"gets {spread(group.values('test_top1'), percent)} % right: {own} errors of {of}{_basis(group)}{unknown}"
        )
    others = known("test_errors", [row.baseline.numbers for row in group.rows if row.baseline is not None])
    both = f"{own} instead of {_mean_errors(others)} errors of {of}"
    if _is_noise(group, gained):
        change = points(statistics.fmean(gained)) + "".join(f" ± {percent(sd)}" for sd in [deviation(gained)] if sd)
        return f"makes {both}: {change} points of top-1 against {_BASELINE}, within the noise{_basis(group)}"
    sign = 1 if statistics.fmean(gained) > 0 else -1
    change = spread([sign * gain for gain in gained], percent)
    return f"{'gains' if sign > 0 else 'loses'} {change} points of top-1 against {_BASELINE}: {both}{_basis(group)}"


def _is_noise(group: SweepGroup, gained: Sequence[float]) -> bool:
    """Whether McNemar's test, or the spread over the seeds where there are several, leaves the gain in doubt."""
    seeds, p = deviation(gained), group.rows[0].p_value
    if seeds is not None:
        return abs(statistics.fmean(gained)) <= seeds
    return p is not None and p >= SIGNIFICANT


def _mean_errors(values: Sequence[float]) -> str:
    return decimals(statistics.fmean(values), 0 if len(values) == 1 else 1)


def _basis(group: SweepGroup) -> str:
    """How sure the numbers are."""
    if len(group.rows) > 1:
        return f" (means over {len(group.rows)} seeds)"
    p = group.rows[0].p_value
    return "" if p is None else f" ({p_value(p)})"


def table_note(rows: Sequence[SweepRow]) -> str:
    """How to read the table."""
    groups = rank(rows)
    said = []
    if standing(groups) is not None and len(groups) > 1:
        said.append("Ranked by top-1, then NLL, on validation; the test set has no say in it.")
    elif groups and any(row.settings for row in rows) and standing(groups) is None:
        said.append("In the order of the grid.")
    seeds = {len(group.rows) for group in groups}
    if seeds and max(seeds) > 1:
        said.append("Mean ± standard deviation over the seeds.")
    if len(seeds) > 1:
        said.append("Seeds that did not finish are left out of the means: some settings have fewer than others.")
    return " ".join(said)


def sweep_remarks(rows: Sequence[SweepRow], *, smoke: bool) -> list[str]:
    """What one should know beside the sentence that leads, a sentence each."""
    groups = rank(rows)
    ranked = standing(groups) is not None and len(groups) > 1
    blind = any(row.numbers.val_n is None for group in groups for row in group.rows)
    return [
        *[SMOKE] * smoke,
        *([_rivals(groups)] if ranked else []),
        *[_BLIND] * blind,
        *_lost_baselines(rows),
        *[_FORMULA] * any(row.teacher is not None for row in rows),
    ]


def _lost_baselines(rows: Sequence[SweepRow]) -> list[str]:
    """Which baselines have no result, and what that leaves unknown."""
    said = []
    for line in reference_lines(rows):
        lost = [f"{one.name} ({one.status})" for one in line.references if one.status != "finished"]
        where = f" at {setting(line.overrides)}" if line.overrides else ""
        said += [f"Without a result: {', '.join(lost)}; what was gained{where} is unknown."] * bool(lost)
    return said


def _rivals(groups: Sequence[SweepGroup]) -> str:
    """How many settings might be the best as well."""
    best, others = groups[0], groups[1:]
    within, seeds = margin(best) or 0.0, len(best.rows)
    least = statistics.fmean(best.values("val_top1")) - within
    near = sum(statistics.fmean(group.values("val_top1")) >= least for group in others)
    who = f"{near} of the other {plural(len(others), 'setting')}" if near else "No other setting"
    if near == len(others) == 1:
        who = "The other setting"
    said = f"{who} {'is' if near < 2 else 'are'} within {decimals(100 * within, 2)} points of the best on validation, "
    if seeds > 1:
        return f"{said}its standard deviation over {seeds} seeds."
    examples = count(best.rows[0].numbers.val_n)
    return f"{said}the standard error of {examples} examples; seeds (seed=0,1,2) would tell more."
