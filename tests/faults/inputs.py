"""I1-I12, I14: wrong values, wrong data, wrong files, and places where nothing can be written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import load, save

from faults.bombs import png
from faults.compare import damage, difference, records, snapshot
from faults.disk import can_mount, mount_memory, with_own_mounts
from faults.gadgets import rewrite
from faults.hostile import drop_others
from faults.machine import Ended
from faults.streaming import killed_worker
from faults.table import Row
from faults.world import World, write_table


@dataclass(frozen=True)
class Wrong:
    """A command line that must be refused: with which exit code, and naming what."""

    line: Sequence[str]
    code: int
    names: Sequence[str] = ()


def _refuse(world: World, row: Row, wrongs: Mapping[str, Wrong]) -> Row:
    """Run them all in one process; each must be refused on one screen, and leave no directory of a run."""
    outputs = world.folder("refused")
    lines = [[*wrong.line, f"output_dir={outputs}"] for wrong in wrongs.values()]
    for (what, wrong), ended in zip(wrongs.items(), world.machine.lines(lines, cwd=world.root), strict=True):
        problem = _not_refused(ended, wrong)
        row.add(what, problem, silent=ended.code == 0)
    for path in records(outputs):
        record = json.loads(path.read_text())
        if record["status"] in ("created", "running", "finished"):
            row.add(str(record["argv"]), f"a run was left, which is {record['status']}", silent=True)
    return row


def _not_refused(ended: Ended, wrong: Wrong) -> str | None:
    if ended.code != wrong.code or "Traceback" in ended.err:
        return ended.shown
    missing = [name for name in wrong.names if name not in ended.err]
    if missing or "do:" not in ended.err:
        return f"{missing or 'what to do'} is not in: {ended.err[-400:]}"
    return None if len(ended.err.splitlines()) <= 60 else f"{len(ended.err.splitlines())} lines"


VALUES = [
    "temperature=0",
    "temperature=-1",
    "temperature=nan",
    "temperature=inf",
    "temperature=1e-8",
    "temperature=4x",
    "alpha=-0.5",
    "alpha=1.5",
    "alpha=nan",
    "optimizer.lr=0",
    "optimizer.lr=-1",
    "optimizer.lr=nan",
    "epochs=-1",
    "epochs=0",
    "epochs=1.5",
    "batch_size=0",
    "seed=-1",
    "seed=18446744073709551616",
    "seed=010",
    "data_seed=x",
    "transfer.fraction=0",
    "transfer.fraction=2",
    "model.dropout=1",
    "model.dropout=-0.1",
    "dataset.val_fraction=1",
    "loss.label_smoothing=2",
    "temprature=3",
    "select=first",
    "device=tpu",
]


def values(world: World) -> Row:
    """I1: numbers out of range, of another kind, misspelt keys."""
    row = Row("I1", "a value out of range, of another type, or a misspelt key", "exit 2, naming the key")
    net = ["distill-student", f"teacher={world.teacher}", *world.net(6, 1)]
    return _refuse(
        world, row, {text: Wrong([*net, text], 2, [text.partition("=")[0].split(".")[-1]]) for text in VALUES}
    )


def classes(world: World) -> Row:
    """I2: the teacher knows other classes than the data has, or in another order."""
    row = Row(
        "I2", "other classes than the teacher's: 10, 1, another order", "exit 2 before any step, both lists shown"
    )
    root = world.folder("classes")
    four = write_table(root / "four.csv", classes=("ape", "bee", "cat", "dog"))
    two = write_table(root / "two.csv", classes=("ape", "bee"))
    renamed = write_table(root / "renamed.csv", classes=("ape", "bee", "cow"))
    net = ["distill-student", f"teacher={world.teacher}", *world.net(6, 1)]
    permuted = _with_card(world, classes=["bee", "ape", "cat"])
    one = _with_card(world, classes=["ape"])
    wrongs = {
        "four classes": Wrong([*net, f"dataset.path={four}"], 2, ["ape, bee, cat", "dog"]),
        "two classes": Wrong([*net, f"dataset.path={two}"], 2, ["ape, bee, cat", "2 in all"]),
        "three, one of them another": Wrong([*net, f"dataset.path={renamed}"], 2, ["cat", "cow"]),
        "ten classes": Wrong(
            [*net[:2], "dataset=mnist", "model=mlp_30", "device=cpu"], 2, ["ape, bee, cat", "10 in all"]
        ),
        "the same in another order": Wrong([*net, f"teacher={permuted}"], 2, ["bee, ape, cat", "ape, bee, cat"]),
        "a teacher of one class": Wrong([*net, f"teacher={one}"], 4, []),
    }
    return _refuse(world, row, wrongs)


def _with_card(world: World, **changes: object) -> Path:
    return _altered(world, "state.json", lambda data: _new_card(data, changes))


def _new_card(data: bytes, changes: Mapping[str, object]) -> bytes:
    content = json.loads(data)
    content["state"]["card"] |= changes
    return json.dumps(content).encode()


def _altered(world: World, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy of the teacher whose only checkpoint has another file, digests right."""
    run = world.folder("altered") / "run"
    shutil.copytree(world.teacher, run)
    rewrite(run, "best", name, change)
    drop_others(run, "best")
    return run


def _weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[bytes], bytes]:
    return lambda data: save({name: tensor.contiguous() for name, tensor in change(load(data)).items()})


def architectures(world: World) -> Row:
    """I3: weights that do not fit the network they are for."""
    row = Row(
        "I3", "weights of another network: missing, extra, renamed, other shapes or types", "exit 4, naming tensors"
    )
    model = {"kind": "mlp", "hidden": [13], "dropout": 0.2}
    runs = {
        "another width": _with_card(world, model=model),
        "another network": _with_card(world, model={"kind": "lenet"}),
        "a network of 10^14 weights": _with_card(world, model={"kind": "mlp", "hidden": [10_000_000, 10_000_000]}),
        "a tensor missing": _altered(world, "model.safetensors", _weights(lambda t: dict(list(t.items())[1:]))),
        "a tensor more": _altered(world, "model.safetensors", _weights(lambda t: {**t, "extra": torch.ones(1)})),
        "module. before each": _altered(
            world, "model.safetensors", _weights(lambda t: {f"module.{name}": each for name, each in t.items()})
        ),
        "another type": _altered(
            world, "model.safetensors", _weights(lambda t: {name: each.double() for name, each in t.items()})
        ),
    }
    wrongs = {}
    for what, run in runs.items():
        wrongs[f"{what}, evaluate"] = Wrong(["evaluate", f"run={run}", "latency=false", "device=cpu"], 4, [str(run)])
        line = ["distill-student", f"teacher={run}", *world.net(6, 1, baseline="false")]
        wrongs[f"{what}, teacher"] = Wrong(line, 4, [str(run)])
    return _refuse(world, row, wrongs)


def numbers(world: World) -> Row:
    """I4: NaN and infinities in a teacher, and a training that diverges."""
    row = Row(
        "I4",
        "NaN or infinity in a teacher or in a training",
        "exit 4 or 5 before the optimizer steps; the last good checkpoint stays",
    )
    wrongs = {}
    for value in (float("nan"), float("inf"), -float("inf")):
        run = _altered(
            world, "model.safetensors", _weights(lambda t, v=value: {n: each.clone().fill_(v) for n, each in t.items()})
        )  # type: ignore[misc]
        wrongs[f"{value} in a teacher"] = Wrong(
            ["distill-student", f"teacher={run}", *world.net(6, 1)], 4, ["NaN or infinite"]
        )
        wrongs[f"{value}, evaluated"] = Wrong(
            ["evaluate", f"run={run}", "latency=false", "device=cpu"], 4, ["NaN or infinite"]
        )
    _refuse(world, row, wrongs)
    outputs = world.folder("diverging")
    line = [
        "train-teacher",
        *world.net(12, 20),
        "optimizer=sgd",
        "optimizer.lr=100",
        "lr_schedule=constant",
        "model.dropout=0",
    ]
    ended = world.run([*line, f"output_dir={outputs}"])
    problem = None if ended.code == 5 and "step" in ended.err and "lr" in ended.err else ended.shown
    row.add("a learning rate of 100", problem or damage(outputs), silent=ended.code == 0)
    return row


def data(world: World) -> Row:
    """I5: tables without rows, with one class, with too few examples, with broken numbers."""
    row = Row("I5", "empty, single-class, tiny or broken data", "exit 3 before training, saying what there is")
    root = world.folder("tables")
    tables = {
        "nothing": "",
        "only a header": "a,b,kind\n",
        "one class": "a,kind\n" + "1,ape\n" * 30,
        "one row": "a,kind\n1,ape\n",
        "a column too few": "a,b,kind\n1,2,ape\n1,bee\n",
        "no such target": "a,b\n1,2\n",
        "infinities": "a,kind\n" + "1e999,ape\n2,bee\n" * 20,
    }
    wrongs = {}
    for what, text in tables.items():
        path = root / f"{what.replace(' ', '-')}.csv"
        path.write_text(text)
        wrongs[what] = Wrong(["train-teacher", *world.net(6, 1), f"dataset.path={path}"], 3, [str(path)])
    wrongs["no file"] = Wrong(["train-teacher", *world.net(6, 1), f"dataset.path={root}/none.csv"], 3, ["none.csv"])
    wrongs["a directory"] = Wrong(["train-teacher", *world.net(6, 1), f"dataset.path={root}"], 3, [str(root)])
    return _refuse(world, row, wrongs)


def images(world: World) -> Row:
    """I6: images that cannot be read."""
    row = Row("I6", "broken images among good ones", "exit 3, all of them listed in one pass")
    good = png(8, 8, b"".join(b"\0" + bytes([index * 20 + 10] * 8) for index in range(8)))
    broken = {"empty.png": b"", "text.jpg": b"hello", "magic.png": b"\x88" + good[1:], "large.png": png(65_000, 65_000)}
    # Cut behind its pixels, within checksums and the end mark, a file still holds its image.
    pixels = 100 * (good.index(b"IEND") - 12) // len(good)
    broken |= {f"cut-{share}.png": good[: len(good) * share // 100] for share in range(5, pixels, world.amount(30, 5))}
    top = world.folder("images")
    for name in ("ape", "bee"):
        (top / name).mkdir()
        for number in range(6):
            (top / name / f"{number}.png").write_bytes(good)
    for name, content in broken.items():
        (top / "ape" / name).write_bytes(content)
    line = [
        "train-teacher",
        "dataset=imagefolder",
        f"dataset.root={top}",
        "dataset.size=8",
        "model=mlp_30",
        "device=cpu",
    ]
    (ended,) = world.machine.lines([line], cwd=world.root)
    for name in broken:
        listed = name in ended.err or f"and {len(broken) - 20} more" in ended.err
        row.add(name, None if ended.code == 3 and listed else f"not listed: {ended.shown}", silent=not listed)
    return row


def places(world: World) -> Row:
    """I7: outputs cannot be written there."""
    row = Row("I7", "an output directory that cannot be made or written", "exit 6 before any training")
    root = world.folder("places")
    (root / "file").write_text("")
    for what, path in {
        "a file": root / "file",
        "under a file": root / "file" / "outputs",
        "/proc": Path("/proc/kd"),
    }.items():
        ended = world.run(["train-teacher", *world.net(6, 1), f"output_dir={path}"])
        row.add(what, None if ended.code == 6 and "where:" in ended.err else ended.shown, silent=ended.code == 0)
    if can_mount(root):
        row.add("a read-only mount", _read_only(world, world.folder("mounted")))
    return row


def _read_only(world: World, place: Path) -> str | None:
    pid = os.fork()
    if pid == 0:
        with_own_mounts()
        mount_memory(place, 2**20, 1)
        ended = world.run(["train-teacher", *world.net(6, 1), f"output_dir={place}/outputs"])
        os._exit(0 if ended.code == 6 and "where:" in ended.err else 1)
    return None if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 else "not refused with exit 6"


def at_once(world: World) -> Row:
    """I8: 32 starts in one second."""
    row = Row("I8", "32 starts at once in one output directory", "32 directories, each with its own run")
    for _ in range(world.amount(1, 10)):
        outputs = world.folder("at-once")
        line = ["train-teacher", *world.net(6, 1), f"output_dir={outputs}"]
        ended_at = {"KD_FAILPOINT": "run.json.25:2"}  # as soon as the directory is there
        starts = [world.machine.start([*line, f"seed={seed}"], cwd=world.root, env=ended_at) for seed in range(32)]
        for process in starts:
            process.wait()
        seeds = [yaml.safe_load((path.parent / "config.yaml").read_text())["seed"] for path in records(outputs)]
        for seed in range(32):
            row.add(f"seed {seed}", None if seeds.count(seed) == 1 else f"{seeds.count(seed)} directories", silent=True)
        world.drop(outputs)
    return row


BROKEN_YAML = {
    "a tab": "kind: mlp\n\thidden: [6]\n",
    "a key twice": "kind: mlp\nhidden: [6]\nhidden: [7]\n",
    "a tag": "kind: !!python/object/apply:os.system ['touch x']\n",
    "a list": "- kind\n- mlp\n",
    "a scalar": "mlp\n",
    "a NUL": "kind: mlp\0\n",
    "a bracket open": "kind: mlp\nhidden: [6\n",
    "not UTF-8": "kind: \udcff\n",
    "a misspelt key": "kind: mlp\nhiden: [6]\n",
    "an interpolation loop": "kind: ${model.kind}\nhidden: [6]\n",
}


def broken_yaml(world: World) -> Row:
    """I10, I11: YAML that is none, and settings that lead nowhere."""
    row = Row("I10", "broken YAML of the user's, as an option and as a study", "exit 2 with file, line and column")
    wrongs = {}
    for what, text in BROKEN_YAML.items():
        folder = world.folder("conf")
        (folder / "model").mkdir()
        path = folder / "model" / "mine.yaml"
        path.write_bytes(text.encode(errors="surrogateescape"))
        names = [] if what == "an interpolation loop" else ["mine.yaml"]
        wrongs[f"{what}, model"] = Wrong(
            ["train-teacher", f"--config-dir={folder}", *world.data, "model=mine"], 2, names
        )
        study = folder / "study.yaml"
        study.write_bytes(text.encode(errors="surrogateescape"))
        wrongs[f"{what}, study"] = Wrong(["study", str(study)], 2, ["study.yaml"])
    return _refuse(world, row, wrongs)


SETTINGS = (
    "model=mlp_9999",
    "+model=lenet",
    "dataset=${dataset}",
    "model=",
    "model.hidden=[6",
    "=3",
    "epochs=1,2",
    "nothing/here=3",
    "hydra.run.dir=/tmp",
)


def settings(world: World) -> Row:
    """I11: unknown groups and options, unquoted commas, interpolation loops."""
    row = Row("I11", "unknown groups, options and loops on the command line", "exit 2 in kd's own words")
    return _refuse(world, row, {text: Wrong(["train-teacher", *world.data, text], 2) for text in SETTINGS})


def devices(world: World) -> Row:
    """I12: a device that is not there, a worker that is killed."""
    row = Row("I12", "a device that is not there, a worker that is killed", "exit 6, naming the key; checkpoint kept")
    row.add("a worker killed", killed_worker(world))
    wanted = (
        "cuda:7",
        *(() if torch.cuda.is_available() else ("cuda",)),
        *(() if torch.backends.mps.is_available() else ("mps",)),
    )
    wrongs = {name: Wrong(["train-teacher", *world.net(6, 1), f"device={name}"], 6, ["device"]) for name in wanted}
    return _refuse(world, row, wrongs)


def surroundings(world: World) -> Row:
    """I14: a clock set back, no HOME, a narrow terminal, another locale, stdout closed or read by nobody."""
    row = Row(
        "I14",
        "clock set back, no HOME, no columns, C locale, stdout closed or broken",
        "trained to the end, no traceback",
    )
    job = world.job("short train-teacher")
    cases: dict[str, dict[str, object]] = {
        "clock a day back": {"trap": {"clock": -86_400.0}},
        "no HOME": {"env": {"HOME": None, "XDG_CACHE_HOME": None}, "real": world.long},
        "0 columns": {"env": {"COLUMNS": "0", "LINES": "0"}},
        "C locale": {"env": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "real": world.long},
        "stdout closed": {"stdout": "closed", "real": True},
        "stdout read by nobody": {"stdout": "broken", "real": True},
    }
    for what, how in cases.items():
        outputs = job.outputs()
        ended = world.run(job.line(outputs), **how)
        codes = {0, 6} if "stdout" in what else {0}
        problem = None if ended.code in codes and "Traceback" not in ended.err else ended.shown
        row.add(what, problem or difference(snapshot(outputs), job.expected) or _backwards(outputs))
        world.drop(outputs)
    row.add("clock a day back on resume", _resumed_earlier(world))
    return row


def _backwards(outputs: Path) -> str | None:
    """A duration that is negative."""
    for path in outputs.rglob("summary.json"):
        if json.loads(path.read_text())["wall_seconds"] < 0:
            return "wall_seconds is negative"
    return None


def _resumed_earlier(world: World) -> str | None:
    outputs = world.folder("earlier")
    run = outputs / "train-teacher" / world.stopped.name
    shutil.copytree(world.stopped, run)
    ended = world.run(["resume", f"output_dir={outputs}"], trap={"clock": -86_400.0})
    return (None if ended.code == 0 else ended.shown) or damage(outputs) or _backwards(outputs)
