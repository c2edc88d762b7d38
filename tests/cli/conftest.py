"""The command line as people meet it: real processes, each of which may run several lines to save start-up time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

_RUN_LINES = """
import contextlib, io, json, sys
from kdcli.__main__ import main
outcomes = []
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line)
    heavy = [name for name in ("hydra", "pydantic", "rich", "torch") if name in sys.modules]
    outcomes.append({"code": code, "out": out.getvalue(), "err": err.getvalue(), "imported": heavy})
print(json.dumps(outcomes))
"""


@dataclass(frozen=True)
class Outcome:
    """What came of one command line; ``imported``: which of hydra, pydantic, rich and torch it needed."""

    code: int
    out: str
    err: str
    imported: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def kd() -> Callable[..., Outcome]:
    """Run one line in a process of its own."""

    def run(*args: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Outcome:
        command = [sys.executable, "-m", "kdcli", *args]
        environment = {**os.environ, "PYTHONWARNINGS": "error", **(env or {})}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def kd_lines() -> Callable[..., list[Outcome]]:
    """Run several lines, one after another, in one process."""

    def run(lines: Sequence[Sequence[str]], cwd: Path | None = None) -> list[Outcome]:
        command = [sys.executable, "-W", "error", "-c", _RUN_LINES]
        asked = json.dumps([list(line) for line in lines])
        done = subprocess.run(command, cwd=cwd, input=asked, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [Outcome(**{**outcome, "imported": tuple(outcome["imported"])}) for outcome in json.loads(done.stdout)]

    return run


@pytest.fixture(scope="session")
def run_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose outputs hold a teacher, a student, a sweep over two temperatures and two seeds, a run that
    diverged, and a smoke run; shared, so copy it before you change anything in it."""
    from kdcli.__main__ import main

    root = tmp_path_factory.mktemp("tree")
    tiny = ["model=mlp_30", "transfer.fraction=0.02", "epochs=2", "batch_size=32", "device=cpu", "--quiet"]
    lines = [
        (["train-teacher", *tiny], 0),
        (["distill-student", "teacher=latest", "temperature=4", "alpha=0.9", *tiny], 0),
        (["distill-student", "teacher=latest", "-m", "temperature=1,8", "seed=0,1", *tiny], 0),
        (["train-teacher", "optimizer.lr=100", "optimizer=sgd", "lr_schedule=constant", *tiny], 5),
        (["train-teacher", "--smoke", *tiny], 0),
    ]
    for line, code in lines:
        out, err = StringIO(), StringIO()
        with chdir(root), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["kd", *line])
            assert main(line) == code, err.getvalue()
    return root


@pytest.fixture
def tree(run_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tree, which is the working directory."""
    shutil.copytree(run_tree / "outputs", tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path / "outputs"


@pytest.fixture
def student(tree: Path) -> Path:
    """The only student in the tree."""
    return _only(tree / "distill-student")


@pytest.fixture
def sweep(tree: Path) -> Path:
    """The only sweep in the tree."""
    return _only(tree / "sweeps")


def _only(folder: Path) -> Path:
    (path,) = [each for each in folder.iterdir() if not each.name.startswith(".")]
    return path


@pytest.fixture
def listed(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """What ``kd runs`` lists, given its words."""
    from kdcli.__main__ import main

    def run(*words: str) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert main(["runs", *words, "--json"]) == 0
        runs = json.loads(capsys.readouterr().out)["runs"]
        assert isinstance(runs, list)
        return runs

    return run


@pytest.fixture(scope="session")
def edit() -> Callable[..., None]:
    """Change some fields of a JSON file."""

    def change(path: Path, **fields: object) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change
