"""What a training came to, in words: the last lines of the training commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdcli.report.paste import is_latest, override
from kdcli.report.tables import Cells, Column, table
from kdcli.report.text import clean, wrap
from kdcli.report.units import count, decimals, duration, mean_sd, p_value, percent, plural, points, short, size, times

if TYPE_CHECKING:
    from kdcli.schema.results import BaselineSummary, SelectionSummary, Summary, TeacherSummary, TestMeasures

SIGNIFICANT = 0.05
RESULT_COLUMNS = (
    Column("", text=True),
    Column("test errors"),
    Column("top-1 %", priority=1),
    Column("NLL", priority=3),
    Column("ECE", priority=5),
    Column("agreement %", priority=4),
    Column("parameters", priority=2),
)
_ONE_SEED = "This compares one training of each; a sweep over seeds (-m seed=0,1,2) tells how much the seed changes."
SMOKE = "This was a smoke run, of two batches a phase: its numbers say nothing."


def training_verdict(
    summary: Summary, *, width: int, smoke: bool = False, page: str | None = None, data: Sequence[str] = ()
) -> str:
    """The end of a training command: what came out, whether it means anything, where it is and what to do next.

    Args:
        summary: The run's result.
        width: Columns of the terminal.
        smoke: The run was a smoke run: said, and kept up in the next command.
        page: Where its report is, if it has one.
        data: What the next command has to say of the data.
    """
    said = [SMOKE] * smoke + (student_sentences(summary) if summary.teacher else network_sentences(summary))
    blocks = [
        table(RESULT_COLUMNS, result_rows(summary), width=width),
        "\n".join(wrap(sentence, width) for sentence in said),
        last_lines(summary, smoke=smoke, page=page, data=data),
    ]
    return "\n\n".join(blocks)


def last_lines(summary: Summary, *, smoke: bool, page: str | None, data: Sequence[str] = ()) -> str:
    """Where a training and its report are, and what to do next."""
    lines = {"run": summary.run, "see": page, "next": next_command(summary, data) + " --smoke" * smoke}
    return "\n".join(f"{name:<5} {clean(text)}" for name, text in lines.items() if text is not None)


def result_rows(summary: Summary) -> list[Cells]:
    """The cells under `RESULT_COLUMNS`: teacher, baseline and student, or the network with its members."""
    parameters = count(summary.parameters)
    if summary.teacher is None:
        return [*_member_rows(summary), result_row(summary.model, summary.test, parameters)]
    teacher = summary.teacher
    name = "teacher" if teacher.members == 1 else f"teacher of {teacher.members}"
    rows = [result_row(name, teacher.test, count(teacher.parameters))]
    if summary.baseline is not None:
        rows.append(result_row("baseline", summary.baseline.test, parameters))
    return [*rows, result_row("student", summary.test, parameters)]


def result_row(name: str, test: TestMeasures, parameters: str) -> Cells:
    """The cells under `RESULT_COLUMNS` of one network, or of several as one."""
    agreement = percent(test.agreement)
    return [
        name,
        count(test.errors),
        percent(test.top1),
        decimals(test.nll, 4),
        decimals(test.ece, 4),
        agreement,
        parameters,
    ]


def _member_rows(summary: Summary) -> list[Cells]:
    if summary.members is None:
        return []
    tests = [member.test for member in summary.members]
    errors = mean_sd([test.errors for test in tests], lambda value: decimals(value, 1))
    top1 = mean_sd([test.top1 for test in tests], percent)
    nll = mean_sd([test.nll for test in tests], lambda value: decimals(value, 4))
    return [["one member", errors, top1, nll, None, None, count(summary.parameters / len(tests))]]


def headline(summary: Summary) -> str:
    """One sentence: what distillation gained, or how good the network is."""
    test, baseline = summary.test, summary.baseline
    errors, of = plural(test.errors, "error"), f"of {count(test.n)} test examples"
    if summary.teacher is None:
        return f"{summary.model} on {summary.dataset} gets {percent(test.top1)} % right: {errors} {of}."
    if baseline is None:
        return f"The student makes {errors} {of}; no baseline was trained, so what distillation gained is unknown."
    both = f"{errors} instead of {count(baseline.test.errors)} {of}"
    if baseline.p_value >= SIGNIFICANT:
        return f"Whether distillation helped is within the noise: {both}, {p_value(baseline.p_value)}."
    gained = points(test.top1 - baseline.test.top1).lstrip("+-")
    verb = "gained" if test.errors < baseline.test.errors else "cost"
    return f"Distillation {verb} {gained} points of top-1 against the same student without a teacher: {both}."


def student_sentences(summary: Summary) -> list[str]:
    """What a distilled student's numbers mean, a sentence or two each."""
    assert summary.teacher is not None
    lines = [headline(summary)]
    if summary.baseline is not None:
        lines += [_gap(summary.test, summary.baseline, summary.teacher), _mcnemar(summary.baseline), _ONE_SEED]
    return [*lines, _compression(summary, summary.teacher), _formula(summary), _training(summary)]


def _gap(test: TestMeasures, baseline: BaselineSummary, teacher: TeacherSummary) -> str:
    without, taught = baseline.test.errors, teacher.test.errors
    if baseline.gap_closed is None:
        compared = f"{plural(taught, 'error')} against {count(without)}"
        return (
            f"The teacher is no better than the baseline ({compared}): there is no gap to close, and a better teacher "
            "is what to train first."
        )
    between = f"Of the {plural(without - taught, 'error')} between baseline and teacher,"
    if test.errors > without:
        return f"{between} none is gone: the student makes {count(test.errors - without)} more than the baseline."
    closed = (
        f"{between} {count(without - test.errors)} are gone: {100 * baseline.gap_closed:.1f} % of the gap is closed."
    )
    return closed + (" The student is better than its teacher." if test.errors < taught else "")


def _mcnemar(baseline: BaselineSummary) -> str:
    p, student, other = baseline.p_value, baseline.only_student, baseline.only_baseline
    counts = (
        f"McNemar's test: {plural(student, 'test example')} only the student gets right, {count(other)} only the "
        f"baseline. Were the two equally good, chance would split them this unevenly {_odds(p)} ({p_value(p)}): "
    )
    if p >= SIGNIFICANT:
        return counts + "the difference is within the noise, and this test set cannot tell the two apart."
    better, worse = ("student", "baseline") if student > other else ("baseline", "student")
    return counts + f"the {better} really is better than the {worse} on such data."


def _odds(p: float) -> str:
    if p >= 0.1:
        return f"{100 * p:.0f} times in 100"
    return "less than once in a million times" if p < 1e-6 else f"about once in {count(float(f'{1 / p:.2g}'))} times"


def _compression(summary: Summary, teacher: TeacherSummary) -> str:
    if teacher.parameters == 0:
        return f"The teacher is no network, whose parameters would count; the student has {count(summary.parameters)}."
    factor = teacher.parameters / summary.parameters
    sizes = f"{count(summary.parameters)} parameters against {count(teacher.parameters)}"
    if factor == 1:
        return f"The student is as large as its teacher: {count(summary.parameters)} parameters."
    how = f"{times(factor)} times smaller" if factor > 1 else f"{times(1 / factor)} times larger"
    return f"The student is {how} than its teacher: {sizes}."


def _formula(summary: Summary) -> str:
    weights = ""
    if isinstance(summary.alpha, float):
        weights = f" = {short(1 - summary.alpha)} * hard + {short(summary.alpha)} * soft"
    settings = {"loss": summary.loss, "alpha": short(summary.alpha), "temperature": short(summary.temperature)}
    shown = ", ".join(f"{name} {value}" for name, value in settings.items() if value)
    return f"Trained on total = (1 - alpha) * hard + alpha * soft{weights}, with {shown}."


def _training(summary: Summary) -> str:
    line = f"{plural(summary.epochs, 'epoch')} ({plural(summary.steps, 'step')}) in {duration(summary.wall_seconds)}"
    line += f", {count(summary.images_per_second)} images/s"
    if summary.selected is None:
        return f"{line}."
    by = "the best on validation" if summary.selected.by == "best" else "the last"
    return f"{line}; the numbers are of epoch {summary.selected.epoch}, {by}."


def network_sentences(summary: Summary) -> list[str]:
    """What the numbers of a network, or of an ensemble, mean."""
    if summary.selection is not None:
        return _selection_sentences(summary, summary.selection)
    lines = [headline(summary)]
    if summary.members is not None:
        tests = [member.test for member in summary.members]
        alone = mean_sd([test.top1 for test in tests], percent)
        lines.append(
            f"That is the ensemble of {len(tests)} members; one member alone gets {alone} % right "
            "(mean ± standard deviation)."
        )
    if summary.val is not None:
        lines.append(f"On validation it gets {percent(summary.val.top1)} % right (NLL {decimals(summary.val.nll, 4)}).")
    formula = [] if summary.alpha is None else [_formula(summary)]
    return [*lines, f"{count(summary.parameters)} parameters.", *formula, _training(summary)]


def _selection_sentences(summary: Summary, selection: SelectionSummary) -> list[str]:
    members = f"{plural(len(selection.members), 'member')} of a library of {plural(selection.models, 'model')}"
    alone = {"single model": selection.single} | ({} if selection.net is None else {"neural net": selection.net})
    said = [
        f"the best {kind} alone {decimals(one.test.rmse, 4)} ({one.name}; {size(one.bytes)}, "
        f"{one.seconds_per_10k:.2g} s)"
        for kind, one in alone.items()
    ]
    return [
        headline(summary),
        f"That is the mean of {members}: {size(summary.bytes)}, {summary.seconds_per_10k:.2g} s for 10,000 cases.",
        f"RMSE on test: the ensemble {decimals(summary.test.rmse, 4)}, {', '.join(said)}.",
        f"Fitted, selected and measured in {duration(summary.wall_seconds)}.",
    ]


def next_command(summary: Summary, data: Sequence[str] = ()) -> str:
    """What to run next: distil the teacher, on its data, or measure student, baseline and teacher side by side."""
    if summary.teacher is None:
        run = "latest" if is_latest(summary.run, summary.command) else summary.run
        return " ".join(["kd distill-student", override("teacher", run), *data])
    baseline = [] if summary.baseline is None else [summary.baseline.run]
    return f"kd evaluate {override('run', [*summary.teacher.run, *baseline, summary.run])}"
