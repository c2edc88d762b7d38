"""Six temperatures × three alphas as one program, against one process a job, and against Hydra's launcher.

Wall time of whole commands, start-up and reports included, of 5 epochs of MNIST without baselines. The fused sweep is
repeated, with a share of the single processes after each; the sweep of one network after another in one process
(``sweep.fuse=false``: Hydra's basic launcher) runs once, in the middle. Every job is run on every side.

Ten-member ensembles against ten trainings: fewer epochs, so that start-up weighs more than it would; the time of the
epochs alone is given too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import Course, Findings, Target, main, ratio, say, summarised
from benchmarks.workshop import Done, Workshop

ASKED = {"mlp_30": (10.0, 4.0), "mlp_300": (3.0, 2.0)}
MEMBERS = 10
ENSEMBLE_EPOCHS = 3


@dataclass(frozen=True)
class Size:
    """How much is swept and trained."""

    temperatures: Sequence[int] = (1, 2, 4, 8, 16, 32)
    alphas: Sequence[float] = (0.1, 0.5, 0.9)
    epochs: int = 5
    ensemble_epochs: int = ENSEMBLE_EPOCHS
    members: int = MEMBERS
    few: Sequence[str] = ()


QUICK = Size((1, 4), (0.9,), 2, 2, 2, ("transfer.fraction=0.02",))


def measure(course: Course) -> Findings:
    """Both sweeps and both ensembles."""
    size = QUICK if course.quick else Size()
    models = ["mlp_30"] if course.quick else list(ASKED)
    ensembles = ["mlp_30"] if course.quick else ["mlp_800", "mlp_1200"]
    with Workshop(compiled=not course.quick) as shop:
        teacher = shop.teacher(f"model={'mlp_30' if course.quick else 'mlp_1200'}", "epochs=1", *size.few)
        sweeps = {model: _sweep(shop, teacher, model, size, course.repeats) for model in models}
        groups = {model: _ensemble(shop, model, size, course.repeats) for model in ensembles}
    targets = [
        Target(f"{model}: fused against {way}", asked, sweeps[model]["ratio"][way])
        for model in models
        for way, asked in zip(("one process a job", "one process"), ASKED[model], strict=True)
    ]
    return Findings({"sweeps": sweeps, "ensembles": groups}, targets)


def _sweep(shop: Workshop, teacher: Path, model: str, size: Size, rounds: int) -> dict[str, Any]:
    words = ["distill-student", f"teacher={teacher}", f"model={model}", f"epochs={size.epochs}", "baseline=false"]
    words += [f"targets.store={shop.root / 'targets'}", *size.few]
    shop.kd(*words, "epochs=1")  # the teacher answers once before, for every side
    grid = [
        "-m",
        f"temperature={','.join(map(str, size.temperatures))}",
        f"alpha={','.join(map(str, size.alphas))}",
    ]
    jobs = [(f"temperature={t}", f"alpha={a}") for t, a in product(size.temperatures, size.alphas)]
    fused, alone, one_process = _side_by_side(
        partial(shop.kd, *words, *grid),
        [partial(shop.kd, *words, *job) for job in jobs],
        partial(shop.kd, *words, *grid, "sweep.fuse=false"),
        rounds,
    )
    return _shown(fused, {"one process a job": alone, "one process": one_process})


def _ensemble(shop: Workshop, model: str, size: Size, rounds: int) -> dict[str, Any]:
    words = ["train-teacher", f"model={model}", f"epochs={size.ensemble_epochs}", *size.few]
    fused, alone, _ = _side_by_side(
        partial(shop.kd, *words, f"members={size.members}"),
        [partial(shop.kd, *words, f"seed={seed}") for seed in range(size.members)],
        None,
        rounds,
    )
    training = sum(run.training_seconds for run in alone) / (sum(run.training_seconds for run in fused) / len(fused))
    return _shown(fused, {"one process a member": alone}) | {"ratio of the epochs alone": training}


def _side_by_side(
    fused: Callable[[], Done], jobs: Sequence[Callable[[], Done]], together: Callable[[], Done] | None, rounds: int
) -> tuple[list[Done], list[Done], list[Done]]:
    """A fused run a round, each followed by its share of the jobs; in the middle round all in one process."""
    repeated, alone, once = [], [], []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        repeated.append(fused())
        alone += [job() for job in jobs[number::rounds]]
        if together is not None and number == rounds // 2:
            once.append(together())
    return repeated, alone, once


def _shown(fused: Sequence[Done], others: dict[str, list[Done]]) -> dict[str, Any]:
    """Wall times, of all jobs of each side, and how many times as fast the fused side is."""
    seconds = [run.seconds for run in fused]
    totals = {name: sum(run.seconds for run in runs) for name, runs in others.items()}
    return {
        "fused_seconds": summarised(seconds),
        "fused_seconds_to_first_epoch": summarised([run.epochs[0] for run in fused]),
        "other_seconds": {name: {"raw": [run.seconds for run in runs], "total": totals[name]}
                          for name, runs in others.items()},
        "ratio": {name: ratio([total], seconds) for name, total in totals.items()},
    }  # fmt: skip


if __name__ == "__main__":
    main("sweep", __doc__, measure, repeats=3)
