"""Every benchmark runs with --quick, as its README says, and prints its JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.workshop import ROOT

Quick = Callable[[str], dict[str, Any]]


@pytest.fixture
def quick(tmp_path: Path) -> Quick:
    """Run a benchmark somewhere else than in the repository."""

    def run(name: str) -> dict[str, Any]:
        command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", f"--out={tmp_path / f'{name}.json'}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads((tmp_path / f"{name}.json").read_text())
        assert document == json.loads(done.stdout)
        assert document["quick"] is True
        assert document["benchmark"] == name
        assert document["machine"]["versions"]["torch"] == torch.__version__
        assert all(target["met"] in (True, False) for target in document["targets"])
        return document

    return run


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_says_that_there_is_none(quick: Quick) -> None:
    assert quick("gpu")["results"] == {"cuda": False}


def test_cohort(quick: Quick) -> None:
    (size,) = quick("cohort")["results"]["sizes"]
    assert size["stacked_speedup"] == pytest.approx(size["in_turn_ms"] / size["stacked_ms"])


def test_convolution(quick: Quick) -> None:
    (found,) = quick("convolution")["results"]["networks"].values()
    assert found["speedup"]["step_last"] == pytest.approx(found["ms"]["step_first"] / found["ms"]["step_last"])
    assert found["speedup"]["asked_last_few"] == pytest.approx(
        found["ms"]["asked_first_many"] / found["ms"]["asked_last_few"]
    )


@pytest.mark.slow
def test_throughput(quick: Quick) -> None:
    document = quick("throughput")
    (student,) = document["results"]["students"]
    speeds = {name: way["median"] for name, way in student["images_per_second"].items()}
    assert student["ratio"]["ordinary, 0 workers"] == pytest.approx(speeds["kd"] / speeds["ordinary, 0 workers"])
    assert student["included"]["ordinary, 0 workers"]["20 epochs"] <= student["ratio"]["ordinary, 0 workers"]
    assert 0 < document["results"]["roofline"]["share"] < 1


@pytest.mark.slow
def test_sweep(quick: Quick) -> None:
    results = quick("sweep")["results"]
    sweep = results["sweeps"]["mlp_30"]
    alone = sweep["other_seconds"]["one process a job"]["raw"]
    assert len(alone) == 2
    assert sweep["ratio"]["one process a job"] == pytest.approx(sum(alone) / sweep["fused_seconds"]["median"])
    assert sweep["fused_seconds_to_first_epoch"]["median"] < sweep["fused_seconds"]["median"]
    assert set(results["ensembles"]) == {"mlp_30"}


@pytest.mark.slow
def test_startup(quick: Quick) -> None:
    document = quick("startup")
    seconds = {name: way["median"] for name, way in document["results"]["seconds"].items()}
    assert seconds["kd --help"] < seconds["--cfg job"] < seconds["first step of train-teacher"]


@pytest.mark.slow
def test_memory(quick: Quick) -> None:
    results = quick("memory")["results"]
    peaks = [peak["median"] for peak in results["peak_bytes"].values()]
    assert len(peaks) == 4
    assert all(1e8 < peak < 4e9 for peak in peaks)
    assert set(results["growth"]["mlp_30"]["peak_bytes_by_members"]) == {"1", "4"}


@pytest.mark.slow
def test_scaling(quick: Quick, tmp_path: Path) -> None:
    results = quick("scaling")["results"]
    assert set(results["exponents"]) == {"examples", "networks", "units", "classes"}
    assert (tmp_path / results["plot"]).read_bytes().startswith(b"\x89PNG")
