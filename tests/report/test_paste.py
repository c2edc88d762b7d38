from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from kdcli.report.paste import is_latest, override

VALUES = [
    "outputs/train-teacher/20261121T190000Z-1111",
    "my runs/the best, ever (2)",
    'say "hi"',
    "it's",
    "a=b",
    "$HOME/`id`",
    "[x]{y}",
    "back\\slash",
    "ends in a backslash\\",
    "${oc.env:HOME}",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_pasted_value_reaches_hydra_as_it_was(value: str) -> None:
    (word,) = shlex.split(override("teacher", value))
    (parsed,) = OverridesParser.create().parse_overrides([word])
    assert (parsed.key_or_group, parsed.value()) == ("teacher", value)


def test_a_pasted_list_reaches_hydra_as_it_was() -> None:
    (word,) = shlex.split(override("run", VALUES))
    (parsed,) = OverridesParser.create().parse_overrides([word])
    assert parsed.value() == VALUES


def test_simple_paths_stay_readable() -> None:
    assert override("teacher", "latest") == "teacher=latest"
    assert override("run", ["a/b", "c"]) == "'run=[a/b,c]'"


@pytest.mark.parametrize(
    ("run", "latest"),
    [
        ("outputs/train-teacher/x", True),
        ("./outputs/train-teacher/x", True),
        ("outputs/train-teacher/x/members/00", False),
        ("outputs/distill-student/x", False),
        ("/elsewhere/outputs/train-teacher/x", False),
        ("mine/train-teacher/x", False),
    ],
)
def test_latest_stands_for_runs_in_the_default_place_only(run: str, latest: bool) -> None:
    assert is_latest(run, "train-teacher") is latest


def test_latest_does_not_stand_for_an_older_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("20261122T100000Z-aaaa", "20261122T110000Z-0000"):
        Path("outputs/train-teacher", name).mkdir(parents=True)
    assert not is_latest("outputs/train-teacher/20261122T100000Z-aaaa", "train-teacher")
    assert is_latest("outputs/train-teacher/20261122T110000Z-0000", "train-teacher")
