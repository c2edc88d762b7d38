"""Bare numbers as options of temperature and alpha, and what this needs of Hydra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from kdcli.commands.numeric_options import NumericSource, install, is_number

pytestmark = pytest.mark.xdist_group("numeric options")

# As typed, the value in the configuration, and the choice that Hydra records.
NUMBERS = {
    "4": (4.0, "4"),
    "3.3": (3.3, "3.3"),
    "1e-1": (0.1, "0.1"),
    ".25": (0.25, "0.25"),
    "1": (1.0, "1"),
    "'0.5'": (0.5, "0.5"),
}
_UNPATCHED = """
from hydra import compose, initialize_config_dir
import sys
with initialize_config_dir(version_base="1.3", config_dir=sys.argv[1]):
    try:
        compose("train_teacher", ["temperature=4"])
    except ValueError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def composed(kd_lines: Callable[..., list[Any]]) -> dict[tuple[str, str], Any]:
    """What ``--cfg all`` prints, by group and number."""
    keys = [(group, number) for number in NUMBERS for group in ("alpha",)] + [("temperature", "3.3")]
    lines = [["train-teacher", f"{group}={number}", "--cfg", "all"] for group, number in keys]
    return {key: yaml.safe_load(outcome.out) for key, outcome in zip(keys, kd_lines(lines), strict=True)}


def test_a_number_is_a_constant_schedule(composed: dict[tuple[str, str], Any]) -> None:
    for (group, number), config in composed.items():
        assert config[group] == {"kind": "constant", "value": NUMBERS[number][0]}


def test_the_recorded_choice_is_the_true_one(composed: dict[tuple[str, str], Any]) -> None:
    for (group, number), config in composed.items():
        assert config["hydra"]["runtime"]["choices"][group] == NUMBERS[number][1]
        assert config["hydra"]["overrides"]["task"] == [f"{group}={number}"]


def test_keys_of_a_numeric_option_can_be_set(kd_lines: Callable[..., list[Any]]) -> None:
    lines = [
        ["train-teacher", "temperature=3", "temperature.value=5", "--cfg", "job", "-p", "temperature"],
        [
            "train-teacher",
            "temperature=linear",
            "temperature.start=8",
            "temperature.end=1",
            "--cfg=job",
            "-p=temperature",
        ],
        ["train-teacher", "temperature={value:3}", "--cfg", "job", "-p", "temperature"],
    ]
    first, second, third = (yaml.safe_load(outcome.out) for outcome in kd_lines(lines))
    assert first == {"kind": "constant", "value": 5}
    assert second == {"kind": "linear", "start": 8, "end": 1}
    assert third == {"kind": "constant", "value": 3}


@pytest.mark.parametrize("text", ["4", "3.3", "1e-1", ".25", "-1", "nan", "inf", "-inf", "1e+22", "5."])
def test_what_python_prints_as_a_number_is_one(text: str) -> None:
    assert is_number(text)


@pytest.mark.parametrize("text", ["", "4x", "cosine", "1,2", "0x10", "1_0", ".", "e5", "infinity"])
def test_other_names_are_not_numbers(text: str) -> None:
    assert not is_number(text)


def test_numbers_become_text_in_the_two_groups_only() -> None:
    install()
    parser = OverridesParser.create()
    texts = ["temperature=4", "alpha=1e-1", "epochs=4", "optimizer.lr=0.1", "alpha=true", "temperature=cosine"]
    values = [override.value() for override in parser.parse_overrides(texts)]
    assert values == ["4", "0.1", 4, 0.1, True, "cosine"]


def test_installing_twice_wraps_once() -> None:
    install()
    wrapped = Override.value
    install()
    assert Override.value is wrapped


def test_the_source_lists_no_option_and_has_no_other_group() -> None:
    source = NumericSource("numeric", "numeric://")
    assert source.list("temperature", None) == []
    assert source.is_config("temperature/4")
    assert not source.is_config("epochs/4")
    assert not source.is_config("temperature/cosine")


def test_hydra_alone_still_refuses_numbers(request: pytest.FixtureRequest) -> None:
    """Where it no longer does, the wrapper can go."""
    conf = str(request.config.rootpath / "conf")
    done = subprocess.run([sys.executable, "-c", _UNPATCHED, conf], capture_output=True, text=True, timeout=60)
    assert "must be a string or a list. Got int" in done.stdout, done.stderr
