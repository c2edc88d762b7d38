"""Runs to read, find and damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from kdcli.rundir import Contents, RunDir, Status, create_run

CONTENTS: Contents = {
    "label": None,
    "smoke": False,
    "argv": ["kd", "train-teacher", "seed=3"],
    "config": {"seed": 3, "model": {"name": "mlp", "hidden": [8, 8]}, "lr": 1e-05},
    "overrides": ["seed=3"],
    "environment": {"device": "cpu"},
}


@pytest.fixture
def contents() -> Contents:
    """What every run here holds."""
    return CONTENTS.copy()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The output directory; nothing is there yet."""
    return tmp_path / "outputs"


@pytest.fixture
def make(root: Path) -> Callable[..., RunDir]:
    """Makes a run under `root`, finished unless told otherwise."""

    def make_run(command: str = "train-teacher", status: str = "finished", **changes: object) -> RunDir:
        contents: Any = CONTENTS | changes
        run = create_run(root, command, **contents)
        if status != "created":
            run.set_status(cast(Status, status))
        return run

    return make_run
