"""A user's own YAML: it extends what there is, and where it is wrong the error names file, line and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("own yaml")

HEAD = b"defaults:\n  - distill_student\n  - _self_\n"
# The file, what the error must say, and the place it must name.
BROKEN: dict[str, tuple[bytes, str, str]] = {
    "tab": (HEAD + b"epochs:\n\t- 1\n", "broken YAML", "tab.yaml:5:1"),
    "duplicate": (HEAD + b"epochs: 1\nepochs: 2\n", "duplicate key epochs", "duplicate.yaml:5:1"),
    "python": (HEAD + b"epochs: !!python/object/apply:os.system ['echo']\n", "tag", "python.yaml:4:9"),
    "unclosed": (HEAD + b"epochs: [1\n", "broken YAML", "unclosed.yaml:5:1"),
    "list_root": (b"- 1\n- 2\n", "must hold keys", "list_root.yaml:1:1"),
    "number_root": (b"3\n", "must hold keys", "number_root.yaml:1:1"),
    "nul": (HEAD + b"epochs: 1\x00\n", "#x0000", "nul.yaml:4:10"),
    "latin": (HEAD + b"# caf\xe9\n", "not UTF-8", "latin.yaml:4:6"),
    "deep": (HEAD + b"epochs: " + b"[" * 3000 + b"]" * 3000, "too deeply", "deep.yaml:1:1"),
    "typo": (HEAD + b"temprature: 4\n", "did you mean 'temperature'?", "typo.yaml:4:1"),
    "range": (HEAD + b"alpha:\n  value: 1.5\n", "alpha.value = 1.5", "range.yaml:5:3"),
    "flat": (HEAD + b"alpha: 0.3\n", "alpha = 0.3", "flat.yaml:4:1"),
    "bare_number": (
        b"defaults:\n  - distill_student\n  - override temperature: 3.3\n",
        '"3.3"',
        "bare_number.yaml:3:27",
    ),
    "text_defaults": (b"defaults: distill_student\n", "must be a list", "text_defaults.yaml:1:11"),
    "option": (b"defaults:\n  - distill_student\n  - override model: resnet_20\n", "model=resnet20", "where: model"),
    "group": (b"defaults:\n  - distill_student\n  - override modl: mlp\n", "did you mean 'model'?", "where: modl"),
    "no_such_file": (b"defaults:\n  - distil\n", "no file distil.yaml", "where: distil"),
    "loop": (HEAD + b"epochs: ${seed}\nseed: ${epochs}\n", "cannot be resolved", "where: epochs"),
    "no_defaults": (b"", "does not know 'teacher'", "begin no_defaults.yaml with"),
    "of_hydra": (HEAD + b"hydra:\n  foo: 3\n", "'foo'", "where: "),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("mine")
    for name, (content, _, _) in BROKEN.items():
        (directory / f"{name}.yaml").write_bytes(content)
    (directory / "fine.yaml").write_bytes(
        b"\xef\xbb\xbf" + HEAD.replace(b"  - _self_", b'  - override temperature: "3.3"\n  - _self_') + b"epochs: 7\n"
    )
    (directory / "swept.yaml").write_bytes(HEAD + b"hydra:\n  sweeper:\n    params:\n      temperature: 0,2.5,cosine\n")
    (directory / "model").mkdir()
    (directory / "model" / "mine.yaml").write_text("kind: mlp\nhidden: [7]\n")
    (directory / "model" / "crooked.yaml").write_text("kind: mlp\n  hidden: [7]\n")
    (directory / "model" / "listed.yaml").write_text("\n- kind\n- mlp\n")
    return directory


@pytest.fixture(scope="module")
def outcomes(kd_lines: Callable[..., list[Any]], directory: Path) -> dict[str, Any]:
    own = ["distill-student", "teacher=latest", "--config-dir", str(directory)]
    lines = {name: [*own, "--config-name", name, "--cfg", "job"] for name in [*BROKEN, "fine"]}
    lines["swept"] = [*own, "--config-name", "swept", "-m"]
    lines["mine"] = [*own, "model=mine", "--cfg", "job", "-p", "model"]
    lines["crooked"] = [*own, "model=crooked", "--cfg", "job"]
    lines["listed"] = [*own, "model=listed", "--cfg", "job"]
    return dict(zip(lines, kd_lines(list(lines.values())), strict=True))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_their_place(outcomes: dict[str, Any], name: str) -> None:
    refused = outcomes[name]
    assert (refused.code, refused.out) == (2, "")
    for part in BROKEN[name][1:]:
        assert part in refused.err
    assert "torch" not in refused.imported


def test_a_broken_option_of_a_group_is_refused_with_its_place(outcomes: dict[str, Any]) -> None:
    assert outcomes["crooked"].code == 2
    assert "crooked.yaml:2:9" in outcomes["crooked"].err


def test_an_option_that_holds_no_keys_is_refused_with_its_place(outcomes: dict[str, Any]) -> None:
    assert outcomes["listed"].code == 2
    assert "listed.yaml:2:1" in outcomes["listed"].err


def test_an_own_primary_file_may_choose_a_number_and_begin_with_a_mark(outcomes: dict[str, Any]) -> None:
    config = yaml.safe_load(outcomes["fine"].out)
    assert config["temperature"] == {"kind": "constant", "value": 3.3}
    assert (config["epochs"], config["teacher"]) == (7, "latest")


def test_an_own_option_of_a_group_is_found(outcomes: dict[str, Any]) -> None:
    assert yaml.safe_load(outcomes["mine"].out) == {"kind": "mlp", "hidden": [7]}


def test_values_to_sweep_over_may_stand_in_the_file(outcomes: dict[str, Any]) -> None:
    assert outcomes["swept"].code == 2
    assert "1 of 3 jobs" in outcomes["swept"].err
    assert "job 0 (temperature=0)" in outcomes["swept"].err
