"""R6-R8: checkpoints that are cut short, have a flipped bit, or hold files that are not theirs."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from faults.machine import Ended
from faults.table import Row
from faults.world import World
from kdcli import checkpoint
from kdcli.errors import CheckpointError, KDError

TOLD = "could not be used"


def truncated(world: World) -> Row:
    """R6: every prefix of every file of a checkpoint."""
    row = Row(
        "R6", "a prefix of a file of a checkpoint",
        "one exception type, exit 4; where another checkpoint is whole, that one is taken and it is said",
    )  # fmt: skip
    store = _store(world)
    for path in _files(store):
        whole = path.read_bytes()
        lengths = range(0, len(whole), world.amount(max(1, len(whole) // 25), 1))
        _damage_each(row, store, path, ((f"{length} bytes", whole[:length]) for length in lengths))
    _through_commands(world, row, lambda data, chance: data[: chance.randrange(len(data))], world.amount(4, 60))
    return row


def flipped(world: World) -> Row:
    """R7: one flipped bit in every byte of every file, manifest and pointer included."""
    row = Row(
        "R7",
        "a flipped bit in a byte of a checkpoint",
        "found before anything is parsed, said, exit 4 or another checkpoint",
    )
    store = _store(world)
    chance = random.Random(7)
    for path in _files(store):
        whole = path.read_bytes()
        indices = range(0, len(whole), world.amount(max(1, len(whole) // 25), 1))
        _damage_each(row, store, path, ((f"byte {index}", _flip(whole, index, chance)) for index in indices))
    _through_commands(world, row, lambda data, one: _flip(data, one.randrange(len(data)), one), world.amount(4, 60))
    return row


def _flip(data: bytes, index: int, chance: random.Random) -> bytes:
    return data[:index] + bytes([data[index] ^ (1 << chance.randrange(8))]) + data[index + 1 :]


def _store(world: World) -> Path:
    """A store with two whole checkpoints of a real training, of which last.json names the second."""
    store = world.folder("store") / "checkpoints"
    shutil.copytree(world.teacher / "checkpoints", store)
    (store / "best.json").unlink()
    last = checkpoint.load(store, fallback=False)
    pointer = checkpoint.commit(store, last.step + 1, last.tensors, last.state)
    checkpoint.point(store, "last", pointer)
    for path in store.glob("step-*"):
        if path.name not in (last.path.name, pointer.dir):
            shutil.rmtree(path)
    return store


def _files(store: Path) -> list[Path]:
    """The pointer and the files of the checkpoint that it names."""
    named = store / checkpoint.read_pointer(store, "last").dir
    return [store / "last.json", *sorted(named.iterdir())]


def _damage_each(row: Row, store: Path, path: Path, damages: Iterator[tuple[str, bytes]]) -> None:
    whole = path.read_bytes()
    for what, damaged in damages:
        path.write_bytes(damaged)
        problem = _noticed(store)
        row.add(f"{path.name}: {what}", problem, silent=problem == "nothing was noticed")
    path.write_bytes(whole)


def _noticed(store: Path) -> str | None:
    """None where damage is refused, and said when another checkpoint is taken."""
    try:
        checkpoint.load(store, fallback=False)
        return "nothing was noticed"
    except CheckpointError:
        pass
    except Exception as error:
        return f"{type(error).__name__} instead of one exception type: {error}"
    try:
        loaded = checkpoint.load(store)
    except KDError as error:
        return f"the other checkpoint was not taken: {error.what}"
    return None if loaded.note is not None else "another checkpoint was taken, and it was not said"


def _through_commands(world: World, row: Row, damage: Callable[[bytes, random.Random], bytes], amount: int) -> None:
    """Damage a file of a run, and give it to every command that reads checkpoints."""
    chance = random.Random(row.id)
    lines, whats = [], []
    commands = readers(world, world.folder("read"))
    for number in range(amount):
        line = commands[number % len(commands)]
        run = world.folder("damaged") / "run"
        shutil.copytree(line.run, run)
        path = chance.choice(line.reads(run))
        path.write_bytes(damage(path.read_bytes(), chance))
        lines.append(line.words(run))
        whats.append(f"kd {line.command}: {path.relative_to(run)}")
    for what, ended in zip(whats, world.machine.lines(lines, cwd=world.root), strict=True):
        problem = _refused_or_told(ended)
        row.add(what, problem, silent=ended.code == 0)


@dataclass(frozen=True)
class Reader:
    """A command that reads a run: what it is given, and which files of it are read."""

    command: str
    run: Path
    pointer: checkpoint.PointerName
    words: Callable[[Path], list[str]]

    def reads(self, run: Path) -> list[Path]:
        """The files of the checkpoint that it reads, the pointer first."""
        store = run / "checkpoints"
        named = store / checkpoint.read_pointer(store, self.pointer).dir
        return [store / f"{self.pointer}.json", *sorted(named.iterdir())]


def readers(world: World, outputs: Path) -> list[Reader]:
    """The commands that read a run which somebody else may have made."""
    place = f"output_dir={outputs}"
    student = world.net(6, 1, baseline="false")
    return [
        Reader(
            "evaluate",
            world.teacher,
            "best",
            lambda run: ["evaluate", f"run={run}", "latency=false", "device=cpu", place],
        ),
        Reader(
            "distill-student", world.teacher, "best", lambda run: ["distill-student", f"teacher={run}", *student, place]
        ),
        Reader("resume", world.stopped, "last", lambda run: ["resume", str(run)]),
        Reader("verify", world.teacher, "best", lambda run: ["verify", str(run)]),
    ]


def _refused_or_told(ended: Ended) -> str | None:
    if ended.code == 4 and "Traceback" not in ended.err:
        return None
    if ended.code == 0:
        return None if TOLD in ended.err else "nothing was noticed"
    return ended.shown


def exchanged(world: World) -> Row:
    """R8: files of another checkpoint or run, missing, too many, empty."""
    row = Row("R8", "files of other checkpoints, missing, too many, empty", "rejected, 100 %")
    for name, change in EXCHANGES.items():
        for part in ("model.safetensors", "state.safetensors", "state.json", "manifest.json"):
            store = _store(world)
            old, new = sorted(store.glob("step-*"))
            if change(old, new, part):
                problem = _noticed(store)
                row.add(f"{part} {name}", problem, silent=problem == "nothing was noticed")
            world.drop(store.parent)
    return row


def _swap(old: Path, new: Path, part: str) -> bool:
    if part.endswith("safetensors"):  # of the two checkpoints the same: of another training, then
        tensors = checkpoint.load(old.parent).tensors[part.removesuffix(".safetensors")]
        from safetensors.torch import save_file

        save_file(
            {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}, new / part
        )
    else:
        shutil.copy(old / part, new / part)
    return True


def _copy_whole(old: Path, new: Path, part: str) -> bool:
    shutil.rmtree(new)
    shutil.copytree(old, new)
    return part == "manifest.json"


def _add(old: Path, new: Path, part: str) -> bool:
    (new / f"copy-of-{part}").write_bytes((new / part).read_bytes())
    return True


def _link(old: Path, new: Path, part: str) -> bool:
    shutil.move(new / part, old.parent.parent / part)
    (new / part).symlink_to(old.parent.parent / part)
    return True


def _remove(old: Path, new: Path, part: str) -> bool:
    (new / part).unlink()
    return True


def _empty(old: Path, new: Path, part: str) -> bool:
    (new / part).write_bytes(b"")
    return True


EXCHANGES: dict[str, Callable[[Path, Path, str], bool]] = {
    "of another checkpoint": _swap,
    "with all others of another checkpoint": _copy_whole,
    "missing": _remove,
    "empty": _empty,
    "twice": _add,
    "behind a symbolic link": _link,
}
