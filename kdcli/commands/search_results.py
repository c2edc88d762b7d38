"""What came of a search: its summary, its last lines, and whether all trials finished."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdcli.commands.flags import Flags
from kdcli.commands.search_space import Space
from kdcli.commands.search_trials import Trial
from kdcli.errors import SweepError, UsageError
from kdcli.json_io import encode_json, write_json_atomic
from kdcli.rundir import RunDir
from kdcli.schema.search import Objective, SearchFile

if TYPE_CHECKING:
    from kdcli.report.search import TrialRow

Importance = Mapping[str, float]


def conclude(
    home: RunDir,
    file: SearchFile,
    space: Space,
    trials: Sequence[Trial],
    importance: Importance | None,
    flags: Flags,
) -> None:
    """Write summary.json and show the trials, the best first.

    Args:
        home: The search's directory.
        file: What it was asked for.
        space: What it searched.
        trials: What it tried.
        importance: The share of each key in being among the best quarter.
        flags: How.

    Raises:
        UsageError: Nothing was tried, for nothing is allowed.
        SweepError: Some trials did not finish.
    """
    if not trials:
        fix = "try one set of values without a search: with --dry-run, it says what is not allowed"
        raise UsageError("no values of these keys are allowed together", where=", ".join(space.dimensions), fix=fix)
    ranked = ranking(trials, file.search.objective)
    content = _content(home, file, space, trials, next(iter(ranked), None), importance)
    write_json_atomic(home.path / "summary.json", content)
    if flags.json:
        sys.stdout.write(encode_json(content).decode())
    else:
        _show(home, file, space, trials, ranked, importance)
    _check(home, trials)


def ranking(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """The trials that reached something, the best first; equals by the other measure, then the earlier one."""

    def merit(trial: Trial) -> tuple[float, float]:
        top1, nll = trial.value("top1"), trial.value("nll")
        assert top1 is not None
        measures = (-top1, float("inf") if nll is None else nll)
        return measures if objective == "top1" else measures[::-1]

    return sorted((trial for trial in trials if trial.value(objective) is not None), key=merit)


def _content(
    home: RunDir,
    file: SearchFile,
    space: Space,
    trials: Sequence[Trial],
    best: Trial | None,
    importance: Importance | None,
) -> dict[str, Any]:
    objective = file.search.objective
    return {
        "schema": 1,
        "command": "search",
        "run": str(home.path),
        "trains": file.command,
        "objective": f"val/{objective}",
        "best": None if best is None else _listed(best, objective) | {"rerun": rerun(file, space, best)},
        "importance": None if importance is None else dict(importance),
        "trials": [
            _listed(trial, objective)
            | {
                "status": trial.status,
                "error": trial.reason,
                "summary": None if trial.summary is None else trial.summary.model_dump(by_alias=True),
            }
            for trial in trials
        ],
    }


def _listed(trial: Trial, objective: Objective) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "values": dict(trial.point),
        "value": trial.value(objective),
        "run": str(trial.run),
    }


def rerun(file: SearchFile, space: Space, trial: Trial) -> str:
    """The command line that trains a trial again: a student with a baseline beside it, unless that was left out."""
    flags = [f"--config-dir={file.config_dir}"] * (file.config_dir is not None)
    flags += [f"--config-name={file.config_name}"] * (file.config_name is not None)
    return shlex.join(["kd", file.command, *file.fixed, *space.words(trial.point), *flags])


def _show(
    home: RunDir,
    file: SearchFile,
    space: Space,
    trials: Sequence[Trial],
    ranked: Sequence[Trial],
    importance: Importance | None,
) -> None:
    from kdcli.report.search import importance_line, search_table
    from kdcli.report.text import clean, encodable
    from kdcli.report.verdict import SMOKE

    width = shutil.get_terminal_size((100, 24)).columns
    others = [_row(trial) for trial in trials if trial not in ranked]
    rows = [_row(trial) for trial in ranked]
    blocks = [search_table(rows, others, objective=file.search.objective, width=width)]
    if home.record.smoke:
        blocks.append(SMOKE)
    lines = [f"search      {clean(str(home.path))}"]
    if importance is not None:
        lines.append(f"importance  {importance_line(importance)}")
    if ranked:
        lines.append(f"best        {clean(str(ranked[0].run))}")
        lines.append(f"next        {clean(rerun(file, space, ranked[0]))}{' --smoke' * home.record.smoke}")
    text = "\n\n".join([*blocks, "\n".join(lines)]) + "\n"
    sys.stdout.write(encodable(text, sys.stdout.encoding))


def _row(trial: Trial) -> TrialRow:
    from kdcli.report.search import TrialRow

    summary = trial.summary
    return TrialRow(
        number=trial.number,
        values=trial.point,
        status=trial.status,
        val_top1=trial.value("top1"),
        val_nll=trial.value("nll"),
        test_errors=None if summary is None else summary.test.errors,
        test_top1=None if summary is None else summary.test.top1,
        reason=trial.reason or "",
    )


def _check(home: RunDir, trials: Sequence[Trial]) -> None:
    failed = [trial for trial in trials if trial.status != "finished"]
    if not failed:
        return
    diverged = all(trial.status == "diverged" for trial in failed)
    raise SweepError(
        f"{len(failed)} of {len(trials)} trials did not finish: trial {', '.join(str(each.number) for each in failed)}",
        where=str(home.path),
        fix="narrow optimizer.lr if you want none to diverge; the others are whole"
        if diverged
        else f"kd resume {shlex.quote(str(home.path))}",
    )
