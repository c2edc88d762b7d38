"""What kd prints with ``--json`` and what it writes, against the JSON Schemas in the package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kdcli.__main__ import main
from kdcli.commands.json_schemas import DOCUMENTS, FOLDER, schema_text

pytestmark = pytest.mark.xdist_group("runs")

Capture = pytest.CaptureFixture[str]


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def faults(name: str, document: Any) -> list[str]:
    return [f"{list(fault.path)}: {fault.message[:200]}" for fault in validator(name).iter_errors(document)]


@pytest.fixture
def tree(run_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tree, which is the working directory."""
    shutil.copytree(run_tree / "outputs", tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_file_is_in_step_with_its_model_and_a_schema(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == schema_text(name), "run scripts/schemas"
    Draft202012Validator.check_schema(json.loads(schema_text(name)))


def test_there_is_no_other_file() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(DOCUMENTS)


PRINTED: dict[str, list[list[str]]] = {
    "runs": [["runs"], ["runs", "--all", "-n", "0", "sort=top1"], ["runs", "output_dir=none"]],
    "runs-rm": [["runs", "rm", "STUDENT", "--dry-run"], ["runs", "rm", "STUDENT", "--purge"]],
    "compare": [["compare", "SWEEP", "--pivot", "temperature:alpha"], ["compare", "--last", "2"]],
    "report": [["report", "STUDENT"]],
    "verify": [["verify", "latest"], ["verify", "outputs/sweeps/SWEEP"]],
    "study-list": [["study"]],
    "summary": [["resume", "outputs/distill-student/STUDENT"]],
    "sweep-summary": [["resume", "outputs/sweeps/SWEEP"]],
    "evaluation": [["evaluate", "run=[STUDENT,SWEEP/00]", "latency=false", "device=cpu", "--smoke", "--quiet"]],
    "doctor": [["doctor"]],
}


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in PRINTED.items() for line in lines])
def test_one_document_on_stdout_that_fits_its_schema(tree: Path, capsys: Capture, name: str, line: list[str]) -> None:
    (student,), (sweep,) = ((tree / kind).iterdir() for kind in ("distill-student", "sweeps"))
    words = [word.replace("STUDENT", student.name).replace("SWEEP", sweep.name) for word in line]
    assert main([*words, "--json"]) == 0
    assert faults(name, json.loads(capsys.readouterr().out)) == []


def test_what_is_brought_back_fits_too(tree: Path, capsys: Capture) -> None:
    (student,) = (tree / "distill-student").iterdir()
    assert main(["runs", "rm", student.name]) == 0
    capsys.readouterr()
    for words in (["--dry-run"], []):
        assert not student.exists()
        assert main(["runs", "restore", student.name, "--json", *words]) == 0
        assert faults("runs-restore", json.loads(capsys.readouterr().out)) == []
    assert student.exists()


def test_broken_and_unfinished_runs_fit_as_well(tree: Path, capsys: Capture) -> None:
    (student,) = (tree / "distill-student").iterdir()
    (student / "summary.json").write_text("{")
    (tree / "train-teacher" / "not a run").mkdir()
    assert main(["runs", "--all", "-n", "0", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {run["status"] for run in document["runs"]} == {"finished", "diverged", "broken"}
    assert faults("runs", document) == []


WRITTEN = {"run.json": "run", "summary.json": "summary", "evaluation.json": "evaluation"}


def test_every_file_that_runs_write_fits_its_schema(tree: Path) -> None:
    checked = 0
    for path in tree.rglob("*"):
        if path.name in WRITTEN:
            document = json.loads(path.read_text())
            name = "sweep-summary" if document["command"] == "sweeps" and "jobs" in document else WRITTEN[path.name]
            assert faults(name, document) == [], path
            checked += 1
        elif path.name == "metrics.jsonl":
            for line in path.read_text().splitlines():
                assert faults("metrics-line", json.loads(line)) == [], path
                checked += 1
    assert checked > 30


@pytest.mark.parametrize("change", [{"schema": 2}, {"extra": 1}, {"seed": "0"}, {"test": {}}])
def test_the_schemas_refuse_what_is_not_so(tree: Path, change: dict[str, Any]) -> None:
    (student,) = (tree / "distill-student").iterdir()
    assert faults("summary", json.loads((student / "summary.json").read_text()) | change) != []
