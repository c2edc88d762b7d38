"""Distilling 1200-1200 into 800-800, 300-300 and 30-30: ``kd distill-student`` against the ordinary loop.

Each measurement is a process of its own with torch's own number of threads. Images a second are over whole epochs,
by the lines that both programs write after each, without the first. Both train with Adam at the same constant rate on
all 60,000 images, without validation and without a baseline. kd's teacher has answered before, as it has for anyone
who distils it a second time; what asking it costs is measured apart, and included in ``included``.

For 800-800 at batch 256 kd's step is compared with what its matrix products alone take (``products.py``).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import Course, Findings, Target, interleave, main, ratio, summarised
from benchmarks.workshop import Done, Workshop, benchmark_command

ASKED = {(800, 64): 4.5, (800, 128): 5.5, (300, 64): 7.0, (300, 128): 10.0, (30, 64): 15.0, (30, 128): 20.0}
KD_EPOCHS = {30: 8, 300: 6, 800: 4}
INCLUDED_EPOCHS = (1, 5, 20)
ROOFLINE = (800, 256)
ROOFLINE_ASKED = 0.8
QUICK_EXAMPLES = 1200
TRAINING_SET = 60_000

_SAME = (
    "optimizer=adamw",
    "optimizer.lr=0.001",
    "lr_schedule=constant",
    "temperature=4",
    "alpha=0.9",
    "dataset.val_fraction=0",
    "select=last",
    "baseline=false",
)


@dataclass(frozen=True)
class Bench:
    """What all measurements share: a teacher, its kept answers, MNIST for torchvision, and how much of it is used."""

    shop: Workshop
    teacher: Path
    digits: Path
    quick: bool
    device: str = "cpu"

    @classmethod
    def prepared(cls, shop: Workshop, *, quick: bool, device: str = "cpu") -> Bench:
        """Train the teacher, let it answer, and unpack MNIST."""
        from benchmarks.ordinary import unpack  # torch comes with it

        model = "mlp_30" if quick else "mlp_1200"
        few = ["transfer.fraction=0.02"] if quick else []
        teacher = shop.teacher(f"model={model}", "epochs=1", f"device={device}", *few)
        unpack(shop.root / "digits")
        bench = cls(shop, teacher, shop.root / "digits", quick, device)
        bench.kd(30, 64, epochs=1)
        return bench

    @property
    def store(self) -> Path:
        """Where the teacher's answers are kept."""
        return self.shop.root / "targets"

    def kd(self, units: int, batch: int, *, epochs: int | None = None, store: Path | None = None) -> Done:
        """A user's ``kd distill-student``."""
        words = [
            "distill-student", f"teacher={self.teacher}", f"model=mlp_{units}", f"batch_size={batch}",
            f"epochs={epochs or (3 if self.quick else KD_EPOCHS[units])}", f"targets.store={store or self.store}",
            f"device={self.device}", *_SAME,
        ]  # fmt: skip
        return self.shop.kd(*words, *(["transfer.fraction=0.02"] if self.quick else []))

    def ordinary(self, units: int, batch: int, workers: int) -> Done:
        """The ordinary loop."""
        pointer = json.loads((self.teacher / "checkpoints" / "last.json").read_text())
        weights = self.teacher / "checkpoints" / pointer["dir"] / "model.safetensors"
        options = {
            "data": self.digits, "teacher": weights, "units": units, "batch": batch, "workers": workers,
            "device": self.device,
        }  # fmt: skip
        if self.quick:
            options["examples"] = QUICK_EXAMPLES
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return self.shop.run([*benchmark_command("ordinary"), *words])

    def speeds(self, runs: Sequence[Done], networks: int = 1) -> list[float]:
        """Images a second, summed over the networks that train side by side."""
        images = QUICK_EXAMPLES if self.quick else TRAINING_SET
        return [networks * images / run.epoch_seconds for run in runs]


def measure(course: Course) -> Findings:
    """All students, the cost of asking the teacher, and the roofline."""
    with Workshop() as shop:
        bench = Bench.prepared(shop, quick=course.quick)
        sizes = [(30, 64)] if course.quick else list(ASKED)
        asking = _asking(bench, course.repeats)
        students = [_student(bench, *size, course.repeats, asking["seconds"]) for size in sizes]
        roofline = _roofline(bench, course)
    targets = [
        Target(f"{one['student']} at batch {one['batch']}", ASKED[size], one["ratio"]["ordinary, 0 workers"])
        for size, one in zip(sizes, students, strict=True)
    ]
    step = f"share of the products in the step of {roofline['student']} at batch {roofline['batch']}"
    share = Target(step, ROOFLINE_ASKED, roofline["share"])
    results = {"settings": list(_SAME), "students": students, "asking_the_teacher": asking, "roofline": roofline}
    return Findings(results, [*targets, share])


def _student(bench: Bench, units: int, batch: int, repeats: int, asking: float) -> dict[str, Any]:
    ways = {
        "kd": lambda: bench.kd(units, batch),
        "ordinary, 0 workers": lambda: bench.ordinary(units, batch, 0),
        "ordinary, 2 workers": lambda: bench.ordinary(units, batch, 2),
    }
    runs = interleave(ways, repeats, of=f"{units}-{units}, batch {batch}: ")
    speeds = {name: bench.speeds(done) for name, done in runs.items()}
    others = [name for name in ways if name != "kd"]
    return {
        "student": f"{units}-{units}",
        "batch": batch,
        "images_per_second": {name: summarised(raw) for name, raw in speeds.items()},
        "ratio": {name: ratio(speeds["kd"], speeds[name]) for name in others},
        "included": {name: _included(bench, speeds["kd"], speeds[name], asking) for name in others},
        "threads": int(runs[others[0]][0].stamps[0][1].removeprefix("threads ")),
    }


def _included(bench: Bench, kd: Sequence[float], other: Sequence[float], asking: float) -> dict[str, float]:
    """The ratio where kd first has to ask the teacher, by the number of epochs that share this cost."""
    images = QUICK_EXAMPLES if bench.quick else TRAINING_SET
    epoch, others = images / statistics.median(kd), images / statistics.median(other)
    return {f"{epochs} epochs": epochs * others / (asking + epochs * epoch) for epochs in INCLUDED_EPOCHS}


def _asking(bench: Bench, repeats: int) -> dict[str, Any]:
    """What asking the teacher about all images adds to the time until the first epoch is done."""
    ways = {
        "answers kept": lambda: bench.kd(30, 128, epochs=1),
        "answers asked": lambda: bench.kd(30, 128, epochs=1, store=bench.shop.fresh("targets")),
    }
    firsts = {name: [run.epochs[0] for run in runs] for name, runs in interleave(ways, repeats).items()}
    seconds = statistics.median(firsts["answers asked"]) - statistics.median(firsts["answers kept"])
    shown = {name: summarised(raw) for name, raw in firsts.items()}
    return {"seconds": max(seconds, 0.0), "seconds_to_first_epoch": shown}


def _roofline(bench: Bench, course: Course) -> dict[str, Any]:
    """kd's step beside the matrix products of its layers."""
    units, batch = (30, 64) if bench.quick else ROOFLINE
    seconds = "0.1" if bench.quick else "3"
    command = [*benchmark_command("products"), "--units", str(units), "--batch", str(batch), "--seconds", seconds]
    ways = {"products": lambda: bench.shop.run(command), "kd": lambda: bench.kd(units, batch)}
    runs = interleave(ways, course.repeats)
    products = [json.loads(run.stamps[-1][1])["step_seconds"] for run in runs["products"]]
    steps = [_step_seconds(run) for run in runs["kd"]]
    return {
        "student": f"{units}-{units}",
        "batch": batch,
        "products_seconds": summarised(products),
        "kd_step_seconds": summarised(steps),
        "share": ratio(products, steps),
    }


def _step_seconds(run: Done) -> float:
    (rows,) = run.metrics.values()
    steps: int = rows[1]["step"] - rows[0]["step"]
    return run.epoch_seconds / steps


if __name__ == "__main__":
    main("throughput", __doc__, measure, repeats=3)
