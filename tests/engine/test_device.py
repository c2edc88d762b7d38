"""Numbers too small to matter are zero in all threads of a training."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TINY = "torch.full((4_000_000,), 1.2e-38)"  # in two threads, and half of it is below what a float32 holds in full


@pytest.mark.parametrize("command", ["sweep", "study_reuse"])
def test_every_thread_flushes_from_its_first_operation_on(command: str) -> None:
    assert left_of(f"import kdcli.commands.{command}; from kdcli.build import load_dataset") == 0


def test_a_thread_that_was_there_before_does_not() -> None:
    assert left_of(f"({TINY} * 0.5).sum(); from kdcli.build import load_dataset") > 0


def left_of(before: str) -> int:
    """How many products of half a tiny number are not zero, in a process that does something before."""
    code = f"import torch; torch.set_num_threads(2); {before}; print(int(({TINY} * 0.5).count_nonzero()))"
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    return int(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
