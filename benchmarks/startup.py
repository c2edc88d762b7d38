"""How long people wait: help, a refused value, ``--cfg job``, completion, a list of runs, a training's first step.

Wall time of new processes, interleaved, with the bytecode compiled as an installation has it. The first step is that
of a ``--smoke`` run without validation: the line that ends its only epoch, of two steps, is written a little later.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.side_by_side import Course, Findings, Target, interleave, main, summarised
from benchmarks.workshop import Workshop, kd_command

PASS = "python -c pass"
ASKED = {
    "kd --help": 0.1,
    "a refused value": 0.7,
    "--cfg job": 0.7,
    "completion": 0.3,
    "kd runs of 1,000": 0.5,
    "first step of train-teacher": 4.0,
    "first step of distill-student": 4.0,
}
_SMOKE = ("--smoke", "dataset.val_fraction=0", "select=last")


def measure(course: Course) -> Findings:
    """All commands, after a round that nobody counts."""
    with Workshop(compiled=not course.quick) as shop:
        ways = _ways(shop)
        if not course.quick:
            interleave(ways, 1)
        seconds = interleave(ways, course.repeats)
    base = statistics.median(seconds[PASS])
    results = {
        name: summarised(raw) | {f"ratio to {PASS}": statistics.median(raw) / base} for name, raw in seconds.items()
    }
    targets = [Target(name, asked, statistics.median(seconds[name]), at_most=True) for name, asked in ASKED.items()]
    return Findings({"seconds": results, "bytecode_compiled": not course.quick}, targets)


def _ways(shop: Workshop) -> dict[str, Callable[[], float]]:
    teacher = shop.teacher("model=mlp_30", "epochs=1", "transfer.fraction=0.02")
    kd = kd_command()

    def whole(*command: str, code: int = 0) -> Callable[[], float]:
        return lambda: shop.run(command, code=code).seconds

    def first_step(*words: str) -> Callable[[], float]:
        return lambda: shop.kd(*words, *_SMOKE, until="epoch 1/1").epochs[0]

    return {
        PASS: whole(sys.executable, "-c", "pass"),
        "kd --help": whole(*kd, "--help"),
        "completion": whole(*kd, "__complete", "kd distill-student model="),
        "kd runs of 1,000": whole(*kd, "runs", f"output_dir={_thousand_runs(shop, teacher)}"),
        "--cfg job": whole(*kd, "distill-student", "--cfg", "job"),
        "a refused value": whole(*kd, "train-teacher", "optimizer.lr=-1", code=2),
        "first step of train-teacher": first_step("train-teacher"),
        "first step of distill-student": first_step("distill-student", f"teacher={teacher}", "baseline=false"),
    }


def _thousand_runs(shop: Workshop, run: Path) -> Path:
    """An output directory with what a list of runs reads, a thousand times."""
    root = shop.root / "thousand"
    for number in range(1000):
        copy = root / "train-teacher" / f"20260101T{number:06}Z-abcd"
        copy.mkdir(parents=True)
        for name in ("run.json", "summary.json"):
            shutil.copyfile(run / name, copy / name)
    return root


if __name__ == "__main__":
    main("startup", __doc__, measure, repeats=20)
