"""What needs neither Hydra nor torch: help, version, and lines that are refused at once."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdcli import __version__
from kdcli.commands import COMMANDS
from kdcli.commands.flags import Flags, parse_line
from kdcli.errors import UsageError

pytestmark = pytest.mark.xdist_group("front end")

CONF = Path(__file__).parents[2] / "conf"
FORMULA = "total = (1 - alpha) * hard + alpha * soft"
HELPS = [f"{name} --help" for name in COMMANDS]
LINES = ["", "--help", "--version", "help", "help exit-codes", *HELPS, "help distill-student"]
REFUSED = {
    "frobnicate": "unknown command 'frobnicate'",
    "distil": "did you mean 'distill-student'?",
    "train-techer epochs=1": "did you mean 'train-teacher'?",
    "train-teacher --jsn": "did you mean '--json'?",
    "train-teacher --epochs 5": "unknown flag '--epochs'; did you mean 'epochs=5'?",
    "train-teacher --batch-size --quiet": "did you mean 'batch_size=VALUE'?",
    "train-teacher --model=lenet": "did you mean 'model=lenet'?",
    "train-teacher --progress=fancy": "auto, rich, plain, none",
    "train-teacher --progress": "--progress needs a value",
    "train-teacher --json=yes": "--json takes no value",
    "train-teacher --cfg jbo": "did you mean 'job'?",
    "train-teacher --experimental-rerun x": "pickle",
    "train-teacher --config-path=.": "--config-dir",
    "train-teacher --run": "leave it out",
    "completion tcsh": "bash|zsh|fish",
    "completion": "bash|zsh|fish",
    "help distill-studnt": "did you mean 'distill-student'?",
    "train-teacher --pivot=a:b": "kd train-teacher does not take --pivot",
    "runs --last 5": "kd runs does not take --last",
    "runs -n": "--limit needs a value",
    "train-teacher --dry-run --json": "the plan of kd train-teacher --dry-run is no JSON",
    "study quickstart --json --dry-run": "the plan of kd study --dry-run is no JSON",
    "study -m": "kd study does not take --multirun",
}


@pytest.fixture(scope="module")
def outcomes(kd_lines: Callable[..., list[Any]]) -> dict[str, Any]:
    lines = [*LINES, *REFUSED]
    return dict(zip(lines, kd_lines([line.split() for line in lines]), strict=True))


def test_neither_help_nor_refusals_import_hydra_pydantic_rich_or_torch(outcomes: dict[str, Any]) -> None:
    assert {line: outcome.imported for line, outcome in outcomes.items() if outcome.imported} == {}


def test_no_argument_prints_the_commands_on_stderr_and_exits_with_2(outcomes: dict[str, Any]) -> None:
    assert (outcomes[""].code, outcomes[""].out) == (2, "")
    assert all(name in outcomes[""].err for name in COMMANDS)


def test_help_names_every_command_the_formula_and_every_exit_code(outcomes: dict[str, Any]) -> None:
    assert outcomes["--help"].code == 0
    assert all(f"  {name} " in outcomes["--help"].out for name in COMMANDS)
    assert FORMULA in outcomes["--help"].out
    assert outcomes["help exit-codes"].out in outcomes["--help"].out
    codes = [line.split()[0] for line in outcomes["help exit-codes"].out.splitlines()[1:]]
    assert codes == ["0", "1", "2", "3", "4", "5", "6", "7", "130", "143"]


def test_version_is_the_package_s(outcomes: dict[str, Any]) -> None:
    assert outcomes["--version"].out == f"kd {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_begins_with_three_examples(outcomes: dict[str, Any], name: str) -> None:
    shown = outcomes[f"{name} --help"]
    assert shown.code == 0
    places = [shown.out.index(line) for line, _ in COMMANDS[name].examples]
    assert len(places) == 3
    assert max(places) < shown.out.index("Flags")


@pytest.mark.parametrize("name", ["train-teacher", "distill-student"])
def test_help_of_a_training_command_shows_the_formula_and_every_option_of_every_group(
    outcomes: dict[str, Any], name: str
) -> None:
    shown = outcomes[f"{name} --help"].out
    assert FORMULA in shown
    assert "alpha   weighs the SOFT term" in shown
    words = shown.replace(",", " ").replace("[", " ").replace("]", " ").split()
    for option in CONF.glob("*/*.yaml"):
        if option.parent.name != "study":
            assert option.parent.name in words
            assert option.stem in words


def test_help_of_evaluate_does_not_speak_of_alpha(outcomes: dict[str, Any]) -> None:
    assert "alpha" not in outcomes["evaluate --help"].out


def test_help_topic_equals_help_flag(outcomes: dict[str, Any]) -> None:
    assert outcomes["help distill-student"] == outcomes["distill-student --help"]


@pytest.mark.parametrize("line", ["--help", "help exit-codes", *HELPS])
@pytest.mark.parametrize("columns", [50, 80])
def test_help_is_as_wide_as_the_terminal_and_says_the_same(
    kd: Callable[..., Any], outcomes: dict[str, Any], line: str, columns: int
) -> None:
    shown = kd(*line.split(), env={"COLUMNS": str(columns)}).out
    assert shown.split() == outcomes[line].out.split()
    for text in shown.splitlines():
        assert len(text) <= columns or text.startswith(("kd ", "  kd ")), "what is to be pasted stays on its line"


def test_the_second_line_of_a_row_begins_under_its_text(kd: Callable[..., Any]) -> None:
    lines = kd("--help", env={"COLUMNS": "80"}).out.splitlines()
    place = lines.index("  export             write a run as one file that needs no kd: ONNX, or a")
    assert lines[place + 1] == f"{'':21}torch.export program"


@pytest.mark.parametrize("line", REFUSED)
def test_wrong_lines_are_refused_in_one_screen(outcomes: dict[str, Any], line: str) -> None:
    refused = outcomes[line]
    assert (refused.code, refused.out) == (2, "")
    assert REFUSED[line] in refused.err
    assert refused.err.startswith("error: ")
    assert [text.split(":")[0].strip() for text in refused.err.splitlines()] == ["error", "where", "do"]


def test_every_command_has_its_module() -> None:
    for command in COMMANDS.values():
        assert importlib.util.find_spec(f"kdcli.commands.{command.module}") is not None


def test_flags_may_stand_anywhere_on_the_line() -> None:
    first = parse_line(["--json", "-m", "train-teacher", "epochs=1", "--progress", "plain", "seed=1,2"])
    last = parse_line(["train-teacher", "epochs=1", "seed=1,2", "--progress=plain", "--multirun", "--json"])
    assert first == last
    assert first.words == ["train-teacher", "epochs=1", "seed=1,2"]
    assert (first.flags.json, first.flags.progress, first.hydra) == (True, "plain", ["--multirun"])


@pytest.mark.parametrize("name", ["json", "dry_run", "smoke", "quiet", "debug"])
def test_each_switch_turns_on_its_own_flag(name: str) -> None:
    flags = parse_line(["evaluate", f"--{name.replace('_', '-')}"], {}).flags
    assert flags == replace(Flags(), **{name: True})


def test_info_takes_its_value_only_where_one_follows() -> None:
    assert parse_line(["train-teacher", "-i", "defaults", "epochs=1"]).hydra == ["--info=defaults"]
    assert parse_line(["train-teacher", "-i", "epochs=1"]).hydra == ["--info=all"]


@pytest.mark.parametrize(
    ("environ", "allowed"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_follows_the_environment(environ: dict[str, str], allowed: bool) -> None:
    assert parse_line([], environ).flags.color is allowed
    assert parse_line(["--no-color"], environ).flags.color is False


def test_an_unknown_flag_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown flag '--epochs'"):
        parse_line(["train-teacher", "--epochs", "5"])


def test_with_stdout_closed_nothing_is_written_into_a_file_that_takes_its_place(tmp_path: Path) -> None:
    line = f"{sys.executable} -m kdcli verify . >&-"
    (tmp_path / "run.json").write_text("{}")
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run.json").read_text() == "{}"


def test_a_reader_that_has_gone_is_no_error_of_ours() -> None:
    line = f"{sys.executable} -m kdcli --help | head -1"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)
