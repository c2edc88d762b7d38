"""S1-S4: pickles, targets and interpolations in everything that kd reads of others."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import yaml

from faults.damage import Reader, readers
from faults.gadgets import DISGUISES, INERT, gadgets, rewrite, targets
from faults.machine import Ended
from faults.table import Row
from faults.world import STUDY, World

SECRET = "hunter2-4711"


class Range:
    """Where hostile files are tried: what runs is watched, and may write nowhere else.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.allowed = world.folder("hostile")
        self.folder = world.folder("elsewhere")
        self._count = count()
        self.lines: list[list[str]] = []
        self.whats: list[str] = []

    @property
    def marker(self) -> Path:
        """A file that nothing may make."""
        return self.folder / "marker"

    def copy(self, run: Path) -> Path:
        """A copy of a run that may be altered."""
        copied = self.allowed / str(next(self._count)) / "run"
        shutil.copytree(run, copied)
        return copied

    def place(self) -> str:
        """Where a command may write."""
        return f"output_dir={self.allowed / 'outputs'}"

    def try_line(self, what: str, line: Sequence[str]) -> None:
        """Have a command line run by ``judge``."""
        self.whats.append(what)
        self.lines.append(list(line))

    def judge(self, row: Row, codes: Callable[[str], set[int]], told: tuple[str, ...] = ("",)) -> None:
        """Run all lines, watched, in one process, and count those that did nothing but refuse.

        Args:
            row: Where they are counted.
            codes: How a line may end, by what was tried.
            told: What the refusal must name, one of these.
        """
        trap = {"watch": [str(self.allowed)], "hostile": str(self.folder)}
        for what, ended in zip(
            self.whats, self.world.machine.lines(self.lines, cwd=self.folder, trap=trap), strict=True
        ):
            problem = self._problem(ended, codes(what), told)
            row.add(what, problem, silent=problem is not None and (ended.code == 0 or bool(ended.events)))
            self.marker.unlink(missing_ok=True)
        if self.marker.exists():
            row.add("all", "the marker was made", silent=True)

    def _problem(self, ended: Ended, codes: set[int], told: tuple[str, ...]) -> str | None:
        if ended.events:
            return f"forbidden: {ended.events[0]}"
        if self.marker.exists():
            return "the marker was made"
        if ended.code not in codes or "Traceback" in ended.err:
            return ended.shown
        if ended.code and not any(name in ended.err + ended.out for name in told):
            return f"not told of {told[0]}: {ended.err[:300]}"
        return None


def pickles(world: World) -> Row:
    """S1: twelve gadgets in seven disguises, in the checkpoints that evaluate, distil, resume and verify read."""
    row = Row(
        "S1", "a pickle in a checkpoint, digests right",
        "exit 4; no code runs, no process, no connection, no file elsewhere (audit hook)",
    )  # fmt: skip
    place = Range(world)
    made = gadgets(place.folder)
    for number, (gadget, disguise, reader) in enumerate(_combinations(world, list(made), place.allowed / "outputs")):
        run = place.copy(reader.run)
        name, change = DISGUISES[disguise]
        rewrite(run, reader.pointer, name, partial(change, made[gadget]))
        for pointer in {"best", "last"} - {reader.pointer}:
            (run / "checkpoints" / f"{pointer}.json").unlink(missing_ok=True)
        drop_others(run, reader.pointer)
        place.try_line(f"{number}: {gadget} as {disguise}, kd {reader.command}", reader.words(run))
    place.judge(row, lambda what: {0, 4} if any(disguise in what for disguise in INERT) else {4})
    _as_files(world, row, made)
    return row


def _combinations(world: World, names: list[str], outputs: Path) -> Iterator[tuple[str, str, Reader]]:
    commands = readers(world, outputs)
    if world.long:
        yield from ((gadget, disguise, reader) for gadget in names for disguise in DISGUISES for reader in commands)
        return
    for number, gadget in enumerate(names):
        yield gadget, list(DISGUISES)[number % len(DISGUISES)], commands[number % len(commands)]


def drop_others(run: Path, pointer: str) -> None:
    """Leave only the checkpoint that was altered, so that there is none to fall back to."""
    store = run / "checkpoints"
    named = json.loads((store / f"{pointer}.json").read_text())["dir"]
    for path in store.glob("step-*"):
        if path.name != named:
            shutil.rmtree(path)


def _as_files(world: World, row: Row, made: dict[str, object]) -> None:
    """The same as files that a command line names."""
    place = Range(world)
    for number, (gadget, value) in enumerate(made.items()):
        for ending in ("pt", "safetensors", "json")[: world.amount(1, 3)]:
            path = place.allowed / f"{number}.{ending}"
            path.write_bytes(DISGUISES["zip archive"][1](value, b""))
            place.try_line(f"{gadget}: teacher={path.name}", ["distill-student", f"teacher={path}", place.place()])
            place.try_line(f"{gadget}: run={path.name}", ["evaluate", f"run={path}", place.place()])
            foreign = ["import", str(path), "model=mlp_30", "mean=0", "std=1", place.place()]
            place.try_line(f"{gadget}: import {path.name}", foreign)
    place.judge(row, lambda _: {2, 4})


def hydra_targets(world: World) -> Row:
    """S2: over a hundred ``_target_``s in cards, configurations, programs, ledgers and studies."""
    row = Row(
        "S2", "a _target_, _partial_ or interpolation in a file", "refused with the key; nothing runs, no file is made"
    )
    place = Range(world)
    chosen = targets(place.marker)
    for number, target in enumerate(chosen[:: world.amount(max(1, len(chosen) // 10), 1)]):
        for name, put in list(PLACES.items()) if world.long else [list(PLACES.items())[number % len(PLACES)]]:
            place.try_line(f"{target['_target_']} in {name}", put(place, target))
    place.judge(row, lambda _: {2, 4}, told=("_target_", "callbacks", "extra", "model.kind"))
    return row


def _in_card(place: Range, target: dict[str, object]) -> list[str]:
    run = place.copy(place.world.teacher)
    _edit_state(run, lambda state: state["card"].update(model=target))  # type: ignore[attr-defined]
    return ["evaluate", f"run={run}", "device=cpu", "latency=false", place.place()]


def _beside_card(place: Range, target: dict[str, object]) -> list[str]:
    run = place.copy(place.world.teacher)
    _edit_state(run, lambda state: state["card"]["model"].update(target))  # type: ignore[index]
    return ["distill-student", f"teacher={run}", *place.world.net(6, 1, baseline="false"), place.place()]


def _edit_state(run: Path, change: Callable[[dict[str, object]], object]) -> None:
    def edited(data: bytes) -> bytes:
        content = json.loads(data)
        change(content["state"])
        return json.dumps(content).encode()

    for pointer in ("best", "last"):
        rewrite(run, pointer, "state.json", edited)


def _in_config(key: str, line: Callable[[Path], list[str]]) -> Callable[[Range, dict[str, object]], list[str]]:
    def put(place: Range, target: dict[str, object]) -> list[str]:
        run = place.copy(place.world.stopped)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config[key] = target if not isinstance(config.get(key), dict) else config[key] | target
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        return line(run)

    return put


def _in_study(place: Range, target: dict[str, object]) -> list[str]:
    path = place.copy(place.world.teacher).with_name("study.yaml")
    net = ", ".join(f'"{text}"' for text in place.world.net(6, 1))
    body = yaml.safe_load(STUDY.format(teacher=net, student=net))
    body["runs"]["teacher"] |= target
    path.write_text(yaml.safe_dump(body, sort_keys=False))
    return ["study", str(path), place.place()]


def _in_override(place: Range, target: dict[str, object]) -> list[str]:
    path = place.copy(place.world.teacher).with_name("study.yaml")
    net = [*place.world.net(6, 1), f"+extra={{_target_: {target['_target_']}}}"]
    body = yaml.safe_load(STUDY.format(teacher="seed=0", student="seed=0"))
    body["runs"]["teacher"]["overrides"] = net
    path.write_text(yaml.safe_dump(body, sort_keys=False))
    return ["study", str(path), place.place()]


PLACES: dict[str, Callable[[Range, dict[str, object]], list[str]]] = {
    "the card of a checkpoint": _in_card,
    "the model of a card": _beside_card,
    "config.yaml on resume": _in_config("model", lambda run: ["resume", str(run)]),
    "a key of config.yaml on resume": _in_config("callbacks", lambda run: ["resume", str(run)]),
    "config.yaml on verify": _in_config("optimizer", lambda run: ["verify", str(run)]),
    "a run of a study": _in_study,
    "an override of a study": _in_override,
}


def own_code(world: World) -> Row:
    """S2: custom models that a file names, and files that call themselves trusted."""
    row = Row(
        "S2 custom",
        "model=custom, loss=custom or dataset=custom in a file, with or without trust_code in that file",
        "exit 2, and the code is not imported",
    )
    place = Range(world)
    (place.folder / "hostile_module.py").write_text(f"open({str(place.marker)!r}, 'w')\n")
    custom = {"kind": "custom", "target": "hostile_module:build", "arguments": {}}
    run = place.copy(world.teacher)
    _edit_state(run, lambda state: state["card"].update(model=custom))  # type: ignore[attr-defined]
    place.try_line("card, evaluate", ["evaluate", f"run={run}", "device=cpu", "latency=false", place.place()])
    place.try_line("card, teacher", ["distill-student", f"teacher={run}", *world.net(6, 1), place.place()])
    student = _stopped_student(world, run)
    cases = ((world.stopped, {"model": custom}), (world.stopped, {"dataset": custom}), (student, {"loss": custom}))
    for path, change in (*cases, (student, {"trust_code": True})):
        copied = _reconfigured(place, path, change)
        place.try_line(f"{change} in config.yaml of {path.parent.name}, resume", ["resume", str(copied)])
    measured = _reconfigured(place, world.teacher, {"dataset": custom})
    place.try_line("data in config.yaml, evaluate", ["evaluate", f"run={measured}", "device=cpu", place.place()])
    place.try_line("data in config.yaml, export", ["export", str(measured)])
    place.judge(row, lambda _: {2, 4})
    return row


def _reconfigured(place: Range, run: Path, change: dict[str, object]) -> Path:
    copied = place.copy(run)
    config = yaml.safe_load((copied / "config.yaml").read_text())
    (copied / "config.yaml").write_text(yaml.safe_dump(config | change))
    return copied


def _stopped_student(world: World, teacher: Path) -> Path:
    """A distillation that was stopped, and whose teacher is now another."""
    outputs = world.folder("student")
    line = ["distill-student", f"teacher={world.teacher}", *world.net(6, 40), f"output_dir={outputs}"]
    ended = world.run(line, trap={"share": 1.0}, env={"KD_FAILPOINT": "prune.begin:3"})
    assert ended.code == 137, ended.shown
    (run,) = (outputs / "distill-student").iterdir()
    text = (run / "config.yaml").read_text().replace(str(world.teacher), str(teacher))
    (run / "config.yaml").write_text(text)
    return run


def secrets(world: World) -> Row:
    """S4: an interpolation that would read the environment, and a secret that is there while kd works."""
    row = Row(
        "S4", "${oc.env:SECRET} in files; a secret in the environment", "the secret stands in no file and no output"
    )
    text = "${oc.env:KD_SECRET}"
    for what, put in SECRETS.items():
        outputs = world.folder("secret")
        line = [*put(world, outputs, text), f"output_dir={outputs}"]
        ended = world.run(line, env={"KD_SECRET": SECRET})
        said = SECRET in ended.out + ended.err
        written = [path for path in outputs.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
        problem = "it was shown" if said else f"it is in {written[0].name}" if written else None
        row.add(what, problem or (ended.shown if "Traceback" in ended.err else None), silent=problem is not None)
    return row


def _secret_config(world: World, outputs: Path, text: str) -> list[str]:
    shutil.copytree(world.stopped, outputs / "run")
    with (outputs / "run" / "config.yaml").open("a") as file:
        file.write(f"label: {text}\n")
    return ["resume", str(outputs / "run")]


def _secret_card(world: World, outputs: Path, text: str) -> list[str]:
    shutil.copytree(world.teacher, outputs / "run")
    _edit_state(outputs / "run", lambda state: state["card"].update(dataset=text, classes=[text, "b", "c"]))  # type: ignore[attr-defined]
    return ["evaluate", f"run={outputs / 'run'}", "device=cpu", "latency=false"]


def _secret_data(world: World, outputs: Path, text: str) -> list[str]:
    table = outputs / "table.csv"
    table.write_text(world.table.read_text().replace("ape", text))
    return ["train-teacher", *world.net(6, 1), f"dataset.path={table}"]


def _secret_study(world: World, outputs: Path, text: str) -> list[str]:
    path = outputs / "study.yaml"
    net = ", ".join(f'"{part}"' for part in world.net(6, 1))
    path.write_text(STUDY.format(teacher=net, student=net).replace("nobody", f'"{text}"'))
    return ["study", str(path)]


def _secret_around(world: World, outputs: Path, text: str) -> list[str]:
    return ["train-teacher", *world.net(6, 1)]


SECRETS = {
    "config.yaml on resume": _secret_config,
    "the card of a checkpoint": _secret_card,
    "class names of a table": _secret_data,
    "a study": _secret_study,
    "only the environment": _secret_around,
}


def static(world: World) -> Row:
    """S3: no call in kd's own code that could run what it reads."""
    import kdcli

    row = Row(
        "S3", "eval, exec, pickle, torch.load, yaml.load, shell=True, instantiate in kd's code", "none, file by file"
    )
    for path in sorted(Path(kdcli.__path__[0]).rglob("*.py")):
        found = _dangerous(ast.parse(path.read_text()))
        row.add(str(path), found, silent=found is not None)
    return row


def _dangerous(tree: ast.AST) -> str | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & set(names):
                return f"line {node.lineno}: imports {names[0]}"
        if isinstance(node, ast.Call) and (what := _dangerous_call(node)):
            return f"line {node.lineno}: {what}"
    return None


def _dangerous_call(node: ast.Call) -> str | None:
    name = ast.unparse(node.func)
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"):
        return name
    if name == "torch.load" and options.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    if name == "yaml.load" and options.get("Loader") not in ("_PlainLoader", "yaml.SafeLoader", "yaml.CSafeLoader"):
        return "yaml.load"
    if options.get("shell") == "True" or name.endswith("instantiate"):
        return name
    return None
