"""The most memory that MNIST trainings hold at once, and how it grows with the size of a cohort.

Peak resident size of whole commands, as the kernel counts it for each process; pages of the memory-mapped cache that
were read count too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.side_by_side import Course, Findings, Target, interleave, main, summarised
from benchmarks.workshop import Done, Workshop

ASKED_BYTES = 1.2e9
VIEWS = 25
COHORTS = {"mlp_30": (1, 6, 12, 18, 36), "mlp_300": (1, 6, 12, 18)}
QUICK_COHORTS = {"mlp_30": (1, 4)}
_FEW = "transfer.fraction=0.02"


def measure(course: Course) -> Findings:
    """The runs of one network, then the cohorts."""
    with Workshop() as shop:
        runs = _alone(shop, course)
        sizes = QUICK_COHORTS if course.quick else COHORTS
        growth = {model: _growth(shop, model, members, course.repeats) for model, members in sizes.items()}
    shown = {name: summarised([run.peak_bytes for run in done]) for name, done in runs.items()}
    most = max(run.peak_bytes for name, done in runs.items() if "views" in name for run in done)
    target = Target(f"peak with the cache of {VIEWS} views memory-mapped, bytes", ASKED_BYTES, most, at_most=True)
    return Findings({"peak_bytes": shown, "growth": growth}, [target])


def _alone(shop: Workshop, course: Course) -> dict[str, list[Done]]:
    """Trainings of one network; the cache of all views is built once, and then read."""
    big, student, few = ("mlp_30", "mlp_30", [_FEW]) if course.quick else ("mlp_1200", "mlp_800", [])
    teacher = shop.teacher(f"model={big}", "epochs=1", *few)
    store = f"targets.store={shop.root / 'targets'}"
    distil = ["distill-student", f"teacher={teacher}", "baseline=false", store, *few]
    shifted = [*distil, "dataset.views=shift", "dataset.view_pixels=2"]
    ways: dict[str, Callable[[], Done]] = {
        "train-teacher 1200-1200": partial(shop.kd, "train-teacher", f"model={big}", "epochs=1", *few),
        "distill-student 800-800": partial(shop.kd, *distil, f"model={student}", "epochs=1"),
        f"distill-student 800-800, cache of {VIEWS} views read": partial(
            shop.kd, *shifted, f"model={student}", "epochs=2"
        ),
    }
    built = shop.kd(*shifted, "model=mlp_30", f"epochs={VIEWS}")  # fewer epochs than views would not build it
    return {f"distill-student 30-30, cache of {VIEWS} views built": [built], **interleave(ways, course.repeats)}


def _growth(shop: Workshop, model: str, sizes: Sequence[int], repeats: int) -> dict[str, Any]:
    """Peaks of cohorts of several sizes, and the slope: bytes a network."""

    def train(members: int) -> Done:
        seeds = ",".join(map(str, range(members)))
        return shop.kd("train-teacher", f"model={model}", "epochs=1", "transfer.fraction=0.1", "-m", f"seed={seeds}")

    runs = interleave({str(members): partial(train, members) for members in sizes}, repeats, of=f"{model} × ")
    peaks = {members: [run.peak_bytes for run in done] for members, done in runs.items()}
    medians = [statistics.median(raw) for raw in peaks.values()]
    slope, intercept = statistics.linear_regression(sizes, medians)
    shown = {members: summarised(raw) for members, raw in peaks.items()}
    return {"peak_bytes_by_members": shown, "bytes_a_member": slope, "bytes_without_members": intercept}


if __name__ == "__main__":
    main("memory", __doc__, measure, repeats=3)
