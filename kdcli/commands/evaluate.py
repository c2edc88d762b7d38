"""``kd evaluate``, from its configuration to its last lines."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.commands.ending import data_words
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.commands.reporting import write_evaluation_report
from kdcli.commands.screen import escape_controls
from kdcli.errors import UsageError
from kdcli.json_io import encode_json
from kdcli.rundir import RunDir, resolve_run
from kdcli.rundir.find import NETWORKS, SPECIALIST, TEACHING
from kdcli.schema import Evaluate
from kdcli.schema.model import model_label

if TYPE_CHECKING:
    from kdcli.program.evaluation import Plan
    from kdcli.program.subjects import Asked
    from kdcli.schema.results import Evaluation


FILE_SUFFIX = ".onnx"


def run(config: Evaluate, overrides: Sequence[str], flags: Flags) -> int:
    """Measure one or several RUNs."""
    config, runs = with_runs(config, smoke=flags.smoke)
    manner = make_manner(overrides, flags)
    from kdcli.program.evaluation import evaluate, plan_evaluation

    plan = plan_evaluation(config, runs, manner)
    if flags.dry_run:
        sys.stdout.write(_planned(plan))
        return 0
    evaluation = evaluate(plan, manner)
    page = write_evaluation_report(RunDir.open(Path(evaluation.run)), evaluation)
    if flags.json:
        sys.stdout.write(encode_json(evaluation.model_dump(by_alias=True)).decode())
    else:
        sys.stdout.write(_shown(evaluation, runs, page, smoke=flags.smoke))
    return 0


def with_runs(config: Evaluate, *, smoke: bool) -> tuple[Evaluate, list[RunDir | Path]]:
    """Find the trainings and files that ``run=`` names, before torch is imported, and name them by their paths.

    Raises:
        UsageError: There is no such run, it is no training, or it is not clear what to measure a file on.
        CheckpointError: Its record is damaged.
    """
    names = [config.run] if isinstance(config.run, str) else config.run
    if not names:
        raise UsageError("run=[] names no run", where="run", fix="add run=latest")
    root = Path(config.output_dir)
    runs = [_file(name) or with_network(resolve_run(name, root=root, purpose="run", smoke=smoke)) for name in names]
    _check_dataset(config, runs)
    paths = [str(run.path) if isinstance(run, RunDir) else str(run) for run in runs]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise UsageError(f"run names {', '.join(twice)} twice", where="run", fix="name each run once")
    return config.model_copy(update={"run": paths}), runs


def _file(name: str) -> Path | None:
    """The exported file of that name, for what is called like one."""
    if not name.endswith(FILE_SUFFIX):
        return None
    if not Path(name).is_file():
        raise UsageError(f"there is no file {name!r}", where="run", fix="write one first: kd export RUN")
    return Path(name)


def _check_dataset(config: Evaluate, runs: Sequence[RunDir | Path]) -> None:
    files = [run for run in runs if isinstance(run, Path)]
    if files and len(files) == len(runs) and config.dataset is None:
        raise UsageError(
            f"{files[0]} does not say where its data are",
            where="dataset",
            fix=f"add dataset=..., or name its run beside it: run=[RUN,{files[0]}]",
        )
    if config.dataset is not None and not files:
        raise UsageError(
            f"dataset={config.dataset.kind} is for exported files; a run is measured on the data it was trained on",
            where="dataset",
            fix="leave it out",
        )


def with_network(run: RunDir) -> RunDir:
    """The run itself.

    Raises:
        UsageError: It is not of a kind that holds a network.
    """
    if run.record.command not in NETWORKS:
        raise UsageError(
            f"{run.path} is no training but of {run.record.command!r}: it holds no network of its own to measure",
            where="run",
            fix="name a training, such as run=latest, or a job of a sweep by its path; 'kd runs' lists them",
        )
    return run


def _planned(plan: Plan) -> str:
    parts = [
        f"{subject.place}: {_network(subject)}, "
        f"{len(exam.test.labels):,} test and {len(exam.train.labels):,} training examples of {subject.card.dataset}\n"
        for subject, exam in plan.pairs
    ]
    return escape_controls("".join(parts))


def _network(subject: Asked) -> str:
    from kdcli.program.subjects import ExportedFile

    if isinstance(subject, ExportedFile):
        return f"{subject.card.members} x {subject.card.model}"
    return f"{len(subject.members)} x {model_label(subject.card.model)}"


def _shown(evaluation: Evaluation, runs: Sequence[RunDir | Path], page: Path, *, smoke: bool) -> str:
    from kdcli.report.evaluation import evaluation_table
    from kdcli.report.text import clean, encodable

    blocks = [evaluation_table(evaluation, width=shutil.get_terminal_size((100, 24)).columns)]
    if smoke:
        blocks.append("This was a smoke run, of at most 512 examples a part: its numbers say nothing.")
    next_line = f"next  {clean(_next_command(runs))}{' --smoke' * smoke}"
    blocks.append(f"run   {clean(evaluation.run)}\nsee   {clean(str(page))}\n{next_line}")
    return encodable("\n\n".join(blocks) + "\n", sys.stdout.encoding)


def _next_command(runs: Sequence[RunDir | Path]) -> str:
    """What to run next: a student beside its teacher and baseline, or else a student of the first that can teach."""
    from kdcli.program.slots import home_of
    from kdcli.program.subjects import read_summary
    from kdcli.report.paste import override
    from kdcli.report.verdict import next_command

    found = [run for run in runs if isinstance(run, RunDir)]
    if not found:
        return f"kd evaluate {override('run', ['latest', str(runs[0])])}"
    summary = read_summary(found[0]) if len(runs) == 1 else None
    if summary is not None and summary.command != SPECIALIST:
        return next_command(summary, data_words(found[0]))
    teacher = next((run for run in found if run.record.command in TEACHING), None)
    if teacher is None:
        return f"kd report {shlex.quote(str(home_of(found[0])))}"
    return " ".join(["kd distill-student", override("teacher", str(teacher.path)), *data_words(teacher)])
