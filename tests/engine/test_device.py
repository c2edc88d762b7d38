"""Numbers too small to matter are zero in all threads of a training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TINY = "torch.full((4_000_000,), 1.2e-38)"  # two threads share it, and half of each number is subnormal
SWEEP = (
    "from kdcli.__main__ import main; main(['train-teacher', '-m', 'seed=0,1', 'model=mlp_30', '--smoke', '--quiet'])"
)


def test_every_thread_of_a_sweep_flushes(tmp_path: Path) -> None:
    assert left_of(SWEEP, tmp_path) == 0


def test_a_thread_that_was_there_before_does_not(tmp_path: Path) -> None:
    assert left_of(f"({TINY} * 0.5).sum(); import kdcli.engine.device", tmp_path) > 0


def left_of(before: str, cwd: Path) -> int:
    """How many products of half a tiny number are not zero, in a process that does something before."""
    code = f"import torch; torch.set_num_threads(2); {before}; print(int(({TINY} * 0.5).count_nonzero()))"
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=cwd, capture_output=True, check=True)
    return int(done.stdout.split()[-1])
