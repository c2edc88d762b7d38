"""What is asked of Hydra besides composing: printing, other Pythons, other processes."""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import FrameType
from typing import Any

import pytest
import yaml
from hydra._internal.utils import get_args_parser

from kdcli.__main__ import main
from kdcli.commands import hydra_app, sweeper
from kdcli.commands.flags import Flags
from kdcli.commands.hydra_app import lenient_argparse
from kdcli.commands.request import Request
from kdcli.commands.task import Task

pytestmark = pytest.mark.xdist_group("hydra app")

_UNPICKLE = """
import pickle, sys
task = pickle.load(sys.stdin.buffer)
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
print(task.flags.smoke, task.request.command, task.origin is None)
print(OverridesParser.create().parse_override("temperature=4").value() == "4")
print("kd.yaml" in ConfigStore.instance().list("hydra/sweeper"))
"""


@pytest.fixture(scope="module")
def printed(kd_lines: Callable[..., list[Any]]) -> list[Any]:
    lines = [
        "distill-student --cfg job",
        "distill-student --cfg job epochs=7 output_dir='o${epochs}' --resolve",
        "train-teacher dataset=csv -c job -p optimizer.lr",
        "train-teacher --cfg hydra",
        "train-teacher --info searchpath",
        "train-teacher --hydra-help",
    ]
    return kd_lines([line.split() for line in lines])


def test_cfg_prints_the_composed_configuration_even_with_a_key_still_to_be_given(printed: list[Any]) -> None:
    config = yaml.safe_load(printed[0].out)
    assert (printed[0].code, printed[0].err, config["teacher"]) == (0, "", "???")
    assert "torch" not in printed[0].imported


def test_cfg_resolves_when_asked(printed: list[Any]) -> None:
    config = yaml.safe_load(printed[1].out)
    assert (config["epochs"], config["output_dir"]) == (7, "o7")


def test_cfg_prints_one_value(printed: list[Any]) -> None:
    assert float(printed[2].out) > 0


def test_hydra_owns_no_directory_and_writes_no_log(printed: list[Any]) -> None:
    hydra = yaml.safe_load(printed[3].out)["hydra"]
    assert (hydra["run"]["dir"], hydra["sweep"]["dir"], hydra["output_subdir"]) == (".", ".", None)
    assert hydra["job_logging"]["root"] is None
    assert hydra["sweeper"]["_target_"].endswith("KdSweeper")


def test_info_and_hydra_help_end_well(printed: list[Any]) -> None:
    assert [outcome.code for outcome in printed[4:]] == [0, 0]
    assert "conf" in printed[4].err + printed[4].out
    assert "Hydra" in printed[5].out


def test_a_task_arrives_in_another_process_with_its_flags_and_hydra_prepared() -> None:
    task = Task(Request.of("train-teacher", ["epochs=1"]), Flags(smoke=True))
    done = subprocess.run([sys.executable, "-c", _UNPICKLE], input=pickle.dumps(task), capture_output=True, timeout=60)
    assert done.stdout.decode().split() == ["True", "train-teacher", "False", "True", "True"], done.stderr.decode()


def _check_help_of_3_14(self: argparse.ArgumentParser, action: argparse.Action) -> None:
    """What Python 3.14 does with each argument that is added."""
    if action.help:
        try:
            self._get_formatter()._expand_help(action)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError("badly formed help string") from error


@pytest.fixture
def argparse_of_3_14(monkeypatch: pytest.MonkeyPatch) -> None:
    add_argument = argparse.ArgumentParser.add_argument

    def checking(self: Any, *args: Any, **kwargs: Any) -> Any:
        action = add_argument(self, *args, **kwargs)
        if isinstance(self, argparse.ArgumentParser):
            self._check_help(action)  # type: ignore[attr-defined]
        return action

    monkeypatch.setattr(argparse.ArgumentParser, "add_argument", checking)
    monkeypatch.setattr(argparse.ArgumentParser, "_check_help", _check_help_of_3_14, raising=False)


@pytest.mark.usefixtures("argparse_of_3_14")
def test_hydra_s_parser_fails_under_python_3_14_without_help() -> None:
    """Where it no longer does, the workaround can go."""
    with pytest.raises(ValueError, match="badly formed help string"), lenient_argparse((3, 13)):
        get_args_parser()


@pytest.mark.usefixtures("argparse_of_3_14")
def test_hydra_s_parser_is_built_under_python_3_14() -> None:
    with lenient_argparse((3, 14)):
        arguments = get_args_parser().parse_args(["epochs=1", "--multirun"])
    assert (arguments.overrides, arguments.multirun) == (["epochs=1"], True)


@pytest.mark.usefixtures("argparse_of_3_14")
def test_argparse_is_as_it_was_after_the_parser_is_built() -> None:
    with lenient_argparse((3, 14)):
        pass
    assert argparse.ArgumentParser._check_help is _check_help_of_3_14  # type: ignore[attr-defined]


def stopped_in(line: str, after: str, function: str) -> int:
    """The exit code of a line whose process gets a SIGTERM when, after one function, another is called first."""
    awaited = [function, after]

    def watch(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and awaited and frame.f_code.co_name == awaited[-1]:
            awaited.pop()
            if not awaited:
                os.kill(os.getpid(), signal.SIGTERM)

    sys.setprofile(watch)
    try:
        code = main(line.split())
    finally:
        sys.setprofile(None)
    assert awaited == []
    return code


SINGLE = "train-teacher --cfg job"
SWEEP = "train-teacher -m optimizer=sgd,adamw --dry-run"
# Where OmegaConf, when it is stopped, raises an error of its own, which it or Hydra may even take for an answer.
CUT = [
    (SINGLE, "load_configuration", "get_dataclass_data"),
    (SINGLE, "load_configuration", "_key"),
    (SWEEP, "compose_job", "get_dataclass_data"),
    (SWEEP, "compose_job", "_key"),
]


@pytest.mark.parametrize(("line", "after", "function"), CUT)
def test_a_signal_while_hydra_composes_stops_the_command(line: str, after: str, function: str) -> None:
    assert stopped_in(line, after, function) == 143


@pytest.mark.parametrize(("line", "after", "function"), CUT)
def test_if_hydra_were_cut_short_the_stop_would_be_lost(
    line: str, after: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hydra_app, "undivided", nullcontext)
    monkeypatch.setattr(sweeper, "compose_job", sweeper.compose_job.__wrapped__)
    assert stopped_in(line, after, function) != 143
