"""The command line as people meet it: real processes, each of which may run several lines to save start-up time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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
