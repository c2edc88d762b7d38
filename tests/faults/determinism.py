"""R12, R14, R15, I13: failing jobs, altered runs, the same command again, and a teacher that must not change."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from faults.compare import damage, difference, snapshot
from faults.streaming import ways_of_reading
from faults.table import Row
from faults.world import World, write_table

NETS = '''
import sys
import torch
from torch import nn


class Breaks(nn.Module):
    """Fails in its tenth forward pass."""

    def __init__(self, how):
        super().__init__()
        self.how, self.count, self.layer = how, 0, nn.Linear(4, 3)

    def forward(self, inputs):
        self.count += 1
        if self.count == 10 and self.how == "exit":
            sys.exit(3)
        if self.count == 10 and self.how == "error":
            raise RuntimeError("a failure of the user's own")
        if self.count == 10 and self.how == "memory":
            raise MemoryError
        return self.layer(inputs) * (float("nan") if self.count == 10 and self.how == "nan" else 1.0)


def good(input_shape, classes): return Breaks("not at all")
def exits(input_shape, classes): return Breaks("exit")
def raises(input_shape, classes): return Breaks("error")
def nans(input_shape, classes): return Breaks("nan")
def hungry(input_shape, classes): return Breaks("memory")
'''


def failing_jobs(world: World) -> Row:
    """R12: a job of a sweep fails: by an exception, sys.exit, NaN, or for want of memory."""
    row = Row("R12", "a job of a sweep fails", "the others finish, exit 7, the failed one says why")
    (world.root / "faulty_nets.py").write_text(NETS)
    for kind in ("exits", "raises", "nans", "hungry"):
        outputs = world.folder("failing")
        target = f"model.target=faulty_nets:good,faulty_nets:{kind}"
        line = ["train-teacher", "-m", "model=custom", target, "seed=0,1", *world.data, "epochs=3", "batch_size=16"]
        ended = world.run([*line, f"output_dir={outputs}"])
        row.add(f"model.target=faulty_nets:{kind}", _others_finished(outputs, ended.code, ended.err))
    return row


def _others_finished(outputs: Path, code: int, said: str) -> str | None:
    summaries = list(outputs.glob("sweeps/*/summary.json"))
    if code != 7 or len(summaries) != 1:
        return f"exit {code}: {said[-300:]}"
    jobs = json.loads(summaries[0].read_text())["jobs"]
    good = [job["status"] for job in jobs if "good" in " ".join(job["overrides"])]
    bad = [(job["status"], job["error"]) for job in jobs if "good" not in " ".join(job["overrides"])]
    if good != ["finished", "finished"]:
        return f"the good jobs are {good}"
    if [status for status, error in bad if status in ("failed", "diverged") and error] != [each[0] for each in bad]:
        return f"the bad jobs are {bad}"
    return damage(outputs)


def altered(world: World) -> Row:
    """R14: what a run recorded was changed before it is resumed."""
    row = Row(
        "R14", "seed, batch size, data, classes, network or loss changed before a resume",
        "refused, or the result is that of the uninterrupted run",
    )  # fmt: skip
    reference = _finish(world, world.stopped)
    for what, change in ALTERATIONS.items():
        run = world.folder("altered") / "run"
        shutil.copytree(world.stopped, run)
        change(world, run)
        ended = world.run(["resume", str(run)])
        problem = None
        if ended.code == 0:
            problem = difference(snapshot(run), reference)
        elif ended.code not in (2, 3, 4) or "Traceback" in ended.err:
            problem = ended.shown
        row.add(what, problem, silent=ended.code == 0)
    return row


def _finish(world: World, run: Path) -> dict[str, Any]:
    copy = world.folder("reference") / "run"
    shutil.copytree(run, copy)
    ended = world.run(["resume", str(copy)])
    assert ended.code == 0, ended.err
    return snapshot(copy)


def _set(key: str, value: object) -> Callable[[World, Path], None]:
    def change(world: World, run: Path) -> None:
        config = yaml.safe_load((run / "config.yaml").read_text())
        node = config
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        node[last] = value
        (run / "config.yaml").write_text(yaml.safe_dump(config))

    return change


def _other_table(world: World, run: Path) -> None:
    _set("dataset.path", str(write_table(run.parent / "other.csv", seed=1)))(world, run)


def _other_classes(world: World, run: Path) -> None:
    path = write_table(run.parent / "other.csv", classes=("bee", "ape", "cat"))
    _set("dataset.path", str(path))(world, run)


ALTERATIONS: dict[str, Callable[[World, Path], None]] = {
    "seed": _set("seed", 1),
    "data_seed": _set("data_seed", 1),
    "batch_size": _set("batch_size", 8),
    "epochs": _set("epochs", 31),
    "optimizer.lr": _set("optimizer.lr", 0.5),
    "model.hidden": _set("model.hidden", [13]),
    "model.dropout": _set("model.dropout", 0.5),
    "loss.label_smoothing": _set("loss.label_smoothing", 0.2),
    "dataset.val_seed": _set("dataset.val_seed", 3),
    "transfer.fraction": _set("transfer.fraction", 0.5),
    "the rows of the table": _other_table,
    "the order of the classes": _other_classes,
}


def repeated(world: World) -> Row:
    """R15: the same command again, under other circumstances."""
    row = Row("R15", "the same command in another environment", "the same hashes")
    job = world.job("short train-teacher")
    for environment in ENVIRONMENTS[: world.amount(1, len(ENVIRONMENTS))]:
        outputs = job.outputs()
        ended = world.run(job.line(outputs), env=environment, real=True)
        problem = ended.shown if ended.code else difference(snapshot(outputs), job.expected)
        row.add(str(environment), problem, silent=ended.code == 0)
        world.drop(outputs)
    if world.long:
        ways_of_reading(world, row)
    return row


ENVIRONMENTS: list[dict[str, str | None]] = [
    {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati"},
    {"LC_ALL": "C", "PYTHONHASHSEED": "2", "HOME": None},
    {"LC_ALL": "C.UTF-8", "TZ": "America/St_Johns"},
    {"FORCE_COLOR": "1", "COLUMNS": "20"},
    {"PYTHONDONTWRITEBYTECODE": None, "PYTHONUNBUFFERED": "1"},
    {"PYTHONOPTIMIZE": "1"},
]


def teacher_unchanged(world: World) -> Row:
    """I13: a teacher is the same before and after it has taught, and no command changes a run that it reads."""
    row = Row("I13", "a teacher teaches, a run is evaluated", "its files are the same before and after")
    for line in (
        ["distill-student", f"teacher={world.teacher}", *world.net(6, 2)],
        ["evaluate", f"run={world.teacher}", "latency=false", "device=cpu"],
    ):
        before = _files(world.teacher)
        ended = world.run([*line, f"output_dir={world.folder('taught')}"])
        changed = [str(path) for path, digest in _files(world.teacher).items() if before.get(path) != digest]
        row.add(
            line[0], ended.shown if ended.code else (f"{changed[0]} changed" if changed else None), silent=bool(changed)
        )
    return row


def _files(run: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in run.rglob("*") if path.is_file()}
