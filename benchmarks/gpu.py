"""kd on a CUDA device: one student, an 18-job sweep, a ten-member ensemble, against the ordinary loop there.

Images a second over whole epochs without the first, summed over the networks that train side by side; the share of
that time in which the GPU works, as ``nvidia-smi`` samples it; the ratio to the ordinary loop with as many workers as
serve it best. All networks are 800-800; the members of the ensemble learn without a teacher, whom the ordinary loop
asks. Without such a device it says so and ends well.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.side_by_side import Course, Findings, interleave, main, ratio, summarised
from benchmarks.throughput import Bench
from benchmarks.workshop import Done, Workshop

WORKERS = (0, 2, 8)
MILLISECONDS = 100
_PROBE = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"


def measure(course: Course) -> Findings:
    """Everything, where there is a device."""
    with Workshop() as shop:
        device = shop.run([sys.executable, "-c", _PROBE]).stamps[-1][1]
        if not device:
            return Findings({"cuda": False})
        bench = Bench.prepared(shop, quick=course.quick, device="cuda")
        return Findings({"cuda": True, "device": device} | _measured(bench, course))


def _measured(bench: Bench, course: Course) -> dict[str, Any]:
    units = 30 if course.quick else 800
    networks = {"one student": 1, "sweep of 18 jobs": 18, "ensemble of 10 members": 10}
    with Sampler() as sampler:
        ordinary = interleave(
            {f"ordinary, {workers} workers": partial(bench.ordinary, units, 128, workers) for workers in WORKERS},
            course.repeats,
        )
        ours = interleave(_ways(bench, units), course.repeats)
    speeds = {name: bench.speeds(runs) for name, runs in ordinary.items()}
    best = max(speeds.values(), key=statistics.median)
    for name, runs in ours.items():
        speeds[name] = bench.speeds(runs, networks[name])
    return {
        "images_per_second": {name: summarised(raw) for name, raw in speeds.items()},
        "ratio to the ordinary loop": {name: ratio(speeds[name], best) for name in ours},
        "share of the time the GPU works": {name: sampler.share(runs) for name, runs in (ordinary | ours).items()},
    }


def _ways(bench: Bench, units: int) -> dict[str, Callable[[], Done]]:
    few = ["transfer.fraction=0.02"] if bench.quick else []
    common = [f"device={bench.device}", "dataset.val_fraction=0", "select=last", "batch_size=128", *few]
    distil = ["distill-student", f"teacher={bench.teacher}", f"targets.store={bench.store}", "baseline=false"]
    grid = ["-m", "temperature=1,2,4,8,16,32", "alpha=0.1,0.5,0.9"]
    return {
        "one student": partial(bench.kd, units, 128),
        "sweep of 18 jobs": partial(bench.shop.kd, *distil, *common, f"model=mlp_{units}", "epochs=5", *grid),
        "ensemble of 10 members": partial(
            bench.shop.kd, "train-teacher", *common, f"model=mlp_{units}", "epochs=5", "members=10"
        ),
    }


@dataclass
class Sampler:
    """Asks ``nvidia-smi`` ten times a second in how much of the time a kernel ran."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def __enter__(self) -> Sampler:
        """Begin."""
        query = ["nvidia-smi", "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        self._process = subprocess.Popen([*query, f"--loop-ms={MILLISECONDS}"], stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            self.samples += [(time.perf_counter(), int(line) / 100) for line in lines if line.strip().isdigit()]

    def share(self, runs: Sequence[Done]) -> float | None:
        """The mean over the epochs of these runs but the first; None where no sample fell into them."""
        spans = [(run.started + run.epochs[0], run.started + run.epochs[-1]) for run in runs]
        inside = [share for when, share in self.samples if any(first <= when <= last for first, last in spans)]
        return statistics.fmean(inside) if inside else None


if __name__ == "__main__":
    main("gpu", __doc__, measure, repeats=3)
