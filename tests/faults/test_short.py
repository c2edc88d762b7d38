"""The short set of faults, and the proof that its rows can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
ROWS = {
    "kills": ["R1"],
    "moments": ["R2", "R3", "R4", "R5", "R6", "R7", "R8"],
    "signals": ["R9", "R10", "R11", "R12", "R14", "R15"],
    "attacks": ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10"],
    "mistakes": ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I10", "I11", "I12", "I13", "I14"],
}
Faults = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    """Run rows, as scripts/faults does."""

    def run(rows: Sequence[str], *options: str, reports: bool = True) -> tuple[int, list[dict[str, Any]], str]:
        command = [sys.executable, "-m", "faults", *rows, "--jobs=1", f"--out={tmp_path / 'out.json'}", *options]
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
        if reports:  # they are among the things that must survive
            environment.pop("KD_NO_REPORT", None)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
        content = json.loads((tmp_path / "out.json").read_text()) if (tmp_path / "out.json").exists() else {"rows": []}
        return done.returncode, content["rows"], done.stdout + done.stderr

    return run


@pytest.mark.parametrize("group", ROWS)
def test_every_fault_is_survived_and_none_is_silent(faults: Faults, group: str) -> None:
    code, rows, said = faults(ROWS[group], reports=group in ("kills", "moments", "signals"))
    assert code == 0, said
    assert [row["id"] for row in rows if row["survived"] < row["injected"] or row["silent"]] == []
    assert {row["id"].split()[0] for row in rows} == set(ROWS[group])


@pytest.mark.parametrize(
    ("part", "row"),
    [
        pytest.param("rng", "R2", marks=pytest.mark.slow),
        pytest.param("rename", "R2", marks=pytest.mark.slow),
        ("rename", "R4"),
        ("verify", "R7"),
    ],
)
def test_with_a_part_of_kd_taken_out_its_row_fails(faults: Faults, part: str, row: str) -> None:
    code, rows, said = faults([row], f"--without={part}")
    assert code == 1, said
    assert [each["survived"] < each["injected"] for each in rows] == [True]
    if part in ("rng", "verify"):
        assert rows[0]["silent"] > 0


def test_the_table_is_printed_and_kept(faults: Faults, tmp_path: Path) -> None:
    code, rows, said = faults(["S3"])
    table = (tmp_path / "out.md").read_text()
    assert code == 0
    assert table in said
    assert f"| {rows[0]['injected']:,} |" in " ".join(table.split())


def test_a_row_that_is_not_there_is_refused(faults: Faults) -> None:
    code, _, said = faults(["R99"])
    assert code == 2
    assert "no row 'R99'" in said
