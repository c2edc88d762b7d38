"""A small world: a table of three classes, a teacher, and the command lines whose interruption is tried."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from PIL import Image

from faults.compare import snapshot
from faults.machine import Ended, Machine
from kdcli.data import load

CLASSES = ("ape", "bee", "cat")
NET = ("model=mlp", "model.dropout=0.2")
STUDY = """
title: A study
source: nobody
claim: none
runs:
  teacher:
    command: train-teacher
    overrides: [{teacher}]
  student:
    command: distill-student
    teacher: teacher
    seeds: 2
    overrides: [{student}]
rows:
  - name: errors
    value: student.test.errors
"""


def write_table(path: Path, rows: int = 240, classes: Sequence[str] = CLASSES, seed: int = 0) -> Path:
    """A CSV file of classes that can be told apart, mostly."""
    chance = random.Random(seed)
    lines = ["a,b,c,d,kind"]
    for number in range(rows):
        label = number % len(classes)
        values = [chance.gauss((label == column) * 1.5, 1.0) for column in range(4)]
        lines.append(",".join([*(f"{value:.4f}" for value in values), classes[label]]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_images(top: Path, per_class: int = 20) -> Path:
    """A folder of digits as PNG and JPEG, a class for each of the first three."""
    digits = load("mnist", {}).train
    for label, name in enumerate(CLASSES):
        (top / name).mkdir()
        for number, index in enumerate((digits.labels == label).nonzero().flatten().tolist()[:per_class]):
            image = Image.fromarray(digits.inputs[index, 0].numpy())
            image.save(top / name / f"{number:02}.{('png', 'jpg')[number % 2]}")
    return top


@dataclass
class Job:
    """A command line whose results are known."""

    name: str
    argv: list[str]
    world: World
    seconds: float = 0.0
    expected: dict[str, Any] = field(default_factory=dict)

    def line(self, outputs: Path) -> list[str]:
        """The command line that writes there."""
        return [*self.argv, f"output_dir={outputs}"]

    def outputs(self) -> Path:
        """A new output directory."""
        return self.world.folder("outputs")


@dataclass
class World:
    """Files and finished runs for the rows to work with.

    Args:
        machine: What runs kd.
        root: Where all of it is.
        long: Whether the long set was asked for.
    """

    machine: Machine
    root: Path
    long: bool
    _folders: int = 0
    _jobs: dict[str, Job] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """A new, empty directory."""
        self._folders += 1
        path = self.root / f"{name}-{self._folders}"
        path.mkdir()
        return path

    def drop(self, path: Path) -> None:
        """Delete what is not needed any more."""
        shutil.rmtree(path, ignore_errors=True)

    def amount(self, short: int, long: int) -> int:
        """How many, in the short set and in the long one."""
        return long if self.long else short

    def run(self, argv: Sequence[str], **how: Any) -> Ended:
        """Run a command line in this world's directory."""
        return self.machine.run(argv, cwd=self.root, **how)

    @cached_property
    def table(self) -> Path:
        """The data."""
        return write_table(self.root / "table.csv")

    @cached_property
    def images(self) -> Path:
        """A folder of images; what kd finds out about it is kept here too, not in the user's cache."""
        os.environ["XDG_CACHE_HOME"] = str(self.folder("cache"))
        return write_images(self.folder("images"))

    @cached_property
    def data(self) -> list[str]:
        """The overrides that name the data."""
        return ["dataset=csv", f"dataset.path={self.table}", "dataset.target=kind", "device=cpu"]

    def net(self, hidden: int, epochs: int, **more: object) -> list[str]:
        """The overrides of a small network with dropout."""
        own = [f"{key.replace('__', '.')}={value}" for key, value in more.items()]
        return [*self.data, *NET, f"model.hidden=[{hidden}]", f"epochs={epochs}", "batch_size=16", *own]

    @cached_property
    def teacher(self) -> Path:
        """A finished train-teacher."""
        outputs = self.folder("finished")
        ended = self.run(["train-teacher", *self.net(12, 8), f"output_dir={outputs}"])
        assert ended.code == 0, ended.err
        (path,) = (outputs / "train-teacher").iterdir()
        return path

    @cached_property
    def stopped(self) -> Path:
        """A train-teacher that was killed after a few checkpoints."""
        outputs = self.folder("stopped")
        line = ["train-teacher", *self.net(12, 30), f"output_dir={outputs}"]
        ended = self.run(line, trap={"share": 1.0}, env={"KD_FAILPOINT": "prune.begin:3"})
        assert ended.code == 137, ended.shown
        (path,) = (outputs / "train-teacher").iterdir()
        return path

    def job(self, name: str) -> Job:
        """One of the command lines that are interrupted: see ``JOBS``."""
        if name not in self._jobs:
            job = Job(name, JOBS[name](self), self)
            outputs = job.outputs()
            ended = self.run(job.line(outputs))
            assert ended.code == 0, ended.err
            job.seconds, job.expected = ended.seconds, snapshot(outputs)
            self.drop(outputs)
            self._jobs[name] = job
        return self._jobs[name]

    def study(self) -> Path:
        """The file of a study."""
        path = self.root / "study.yaml"
        teacher, student = self.net(12, 20), self.net(6, 15, temperature=3, alpha=0.7)
        path.write_text(STUDY.format(teacher=_quoted(teacher), student=_quoted(student)))
        return path


def _quoted(overrides: Sequence[str]) -> str:
    return ", ".join(f'"{text}"' for text in overrides)


def _train(world: World) -> list[str]:
    return ["train-teacher", *world.net(12, 60)]


def _short(world: World) -> list[str]:
    return ["train-teacher", *world.net(12, 20)]


def _ensemble(world: World) -> list[str]:
    return ["train-teacher", *world.net(12, 30, members=3)]


def _distill(world: World) -> list[str]:
    return ["distill-student", f"teacher={world.teacher}", *world.net(6, 30, temperature=3, alpha=0.7)]


def _short_distill(world: World) -> list[str]:
    return ["distill-student", f"teacher={world.teacher}", *world.net(6, 12, temperature=3, alpha=0.7)]


def _sweep(world: World) -> list[str]:
    own = world.net(6, 20, temperature="1,4", alpha=0.7, seed="0,1")
    return ["distill-student", f"teacher={world.teacher}", "-m", *own]


def _apart(world: World) -> list[str]:
    return ["train-teacher", "-m", *world.net(6, 20, seed="0,1,2", sweep__fuse="false")]


def streamed(world: World, workers: int, epochs: int = 8) -> list[str]:
    """A training on images that are decoded batch by batch, by so many processes."""
    images = ["dataset=imagefolder", f"dataset.root={world.images}", "dataset.size=12", "dataset.channels=1"]
    how = ["dataset.views=shift", "dataset.memory=stream", f"dataset.workers={workers}", "device=cpu"]
    return ["train-teacher", *images, *how, *NET, "model.hidden=[12]", f"epochs={epochs}", "batch_size=8"]


def _study(world: World) -> list[str]:
    return ["study", str(world.study())]


JOBS: dict[str, Callable[[World], list[str]]] = {
    "train-teacher": _train,
    "short train-teacher": _short,
    "short distill-student": _short_distill,
    "ensemble": _ensemble,
    "distill-student": _distill,
    "sweep": _sweep,
    "sweep of single jobs": _apart,
    "study": _study,
    "streamed, 0 workers": partial(streamed, workers=0),
    "streamed, 2 workers": partial(streamed, workers=2),
}
