"""S9: every parser of ours, on files that were changed at random: refused in kd's own terms, and soon."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from faults.gadgets import rewrite
from faults.table import Row
from faults.world import World
from kdcli import checkpoint, targets
from kdcli.commands.audit import audit_run
from kdcli.commands.study import read_study
from kdcli.commands.sweep_results import read_ledger
from kdcli.data.columns import read_table
from kdcli.data.idx import read_idx
from kdcli.errors import CheckpointError, KDError
from kdcli.program.subjects import read_summary
from kdcli.program.sweep import read_program
from kdcli.rundir import RunDir, read_metrics
from kdcli.schema import parse_config
from kdcli.studies.reading import parameters_of, put_in
from kdcli.trained import load_trained

MOST_SECONDS = 5.0
CPU = torch.device("cpu")

Change = Callable[[bytes], bytes]

# What may stand in place of a value: other types, the ends of ranges, texts that mean something elsewhere.
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -0.0, 1e308, 1.5, "", " ", "nan", "-1", "../../x", "/etc/passwd",
    "\x00", "\x1b[2J", "\ud800", "é" * 300, "${oc.env:HOME}", "{}", [], {}, [[]], [None] * 50, {"": None},
    {"a": {"b": []}}, {"_target_": "os.system"}, "2026-13-45", "finished", "0" * 64,
]  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """A file, and what reads it.

    Args:
        path: The file.
        read: Reads it.
        put: Puts changed content in its place, where more than writing it is needed.
    """

    path: Path
    read: Callable[[], object]
    put: Callable[[Change], None] | None = None


def parsers(world: World) -> Row:
    """S9: files of runs, of sweeps, of users and of data, changed in their bytes and in their structure."""
    row = Row(
        "S9", "a file that kd parses, changed at random", "read, or refused in kd's own terms within 5 s; never a crash"
    )
    for name, parser in _parsers(world).items():
        chance = random.Random(name)
        for number in range(world.amount(12, 1500)):
            row.add(f"{name}: change {number}", _crashed(parser, _change(parser.path.suffix, chance)))
    return row


def _crashed(parser: Parser, change: Change) -> str | None:
    """Change the file, read it, and put the whole directory back; what came other than the result or a refusal."""
    kept = parser.path.parent.parent / "kept"
    shutil.copytree(parser.path.parent, kept)
    if parser.put is None:
        parser.path.write_bytes(change(parser.path.read_bytes()))
    else:
        parser.put(change)
    started = time.monotonic()
    problem = None
    try:
        parser.read()
    except KDError:
        pass
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    if time.monotonic() - started > MOST_SECONDS:
        problem = problem or f"{time.monotonic() - started:.1f} s"
    shutil.rmtree(parser.path.parent, ignore_errors=True)  # a damaged store may be gone
    kept.rename(parser.path.parent)
    return problem


def _change(suffix: str, chance: random.Random) -> Change:
    """Of the bytes, or, where it has one, of the structure."""
    if suffix in (".json", ".jsonl") and chance.random() < 0.6:
        return lambda data: _restructured_lines(data, chance)
    if suffix == ".yaml" and chance.random() < 0.6:
        return lambda data: yaml.safe_dump(_restructured(yaml.safe_load(data), chance)).encode("utf-8", "surrogatepass")
    return lambda data: _scrambled(data, chance)


def _scrambled(data: bytes, chance: random.Random) -> bytes:
    """A few flips, cuts, repeats, swaps and insertions of bytes."""
    for _ in range(chance.choice((1, 1, 1, 3, 10))):
        at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        piece = data[at : min(to, at + chance.choice((1, 4, 64, 10**6)))]
        noise = chance.choice(
            (chance.randbytes(chance.choice((1, 4, 40))), b'"', b"{", b"\n", b"\x00", b"9" * 400, b"[" * 3000)
        )
        changed = (
            data[:at] + noise + data[at + len(noise) :],
            data[:at] + noise + data[at:],
            data[:at] + data[at + len(piece) :],
            data[:at] + piece + data[at:],
            data[:at],
        )
        data = chance.choice(changed) or b" "
    return data


def _restructured_lines(data: bytes, chance: random.Random) -> bytes:
    """One value of a line of JSON, or of the whole file, is another one."""
    lines = data.splitlines() if data.count(b"\n{") else [data]
    number = chance.randrange(len(lines))
    lines[number] = json.dumps(_restructured(json.loads(lines[number]), chance)).encode()
    return b"\n".join(lines) + b"\n"


def _restructured(value: Any, chance: random.Random) -> Any:
    places = list(_places(value))
    if not places:
        return chance.choice(ODD)
    holder, key = chance.choice(places)
    kind = chance.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[chance.choice(("", "schema", "kind", "x" * 300, "__class__", f"{key} "))] = holder.pop(key)
    else:
        holder[key] = chance.choice(ODD)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield value, key
        yield from _places(each)


def _parsers(world: World) -> dict[str, Parser]:
    run = _copy(world, world.teacher)
    sweep = _sweep(world)
    return {
        "run.json": Parser(run / "run.json", lambda: RunDir.open(run).status),
        "config.yaml": Parser(run / "config.yaml", lambda: _config(run)),
        "summary.json": Parser(run / "summary.json", lambda: read_summary(RunDir.open(run))),
        "metrics.jsonl": Parser(run / "metrics.jsonl", lambda: read_metrics(run / "metrics.jsonl")),
        "a pointer": Parser(run / "checkpoints" / "best.json", lambda: checkpoint.load(run / "checkpoints")),
        **{f"{name}, digests right": _of_checkpoint(run, name) for name in ("state.json", "model.safetensors")},
        "a manifest, its digest right": _manifest(run),
        **{f"kd verify: {name}": Parser(run / name, lambda: audit_run(run)) for name in VERIFIED},
        "ledger.jsonl": Parser(sweep / "ledger.jsonl", lambda: read_ledger(RunDir.open(sweep))),
        "kd verify: ledger.jsonl": Parser(sweep / "ledger.jsonl", lambda: audit_run(sweep)),
        "a program": Parser(sweep / "programs" / "00.json", lambda: read_program(sweep / "programs" / "00.json")),
        **_of_users(world),
        **_of_data(world),
    }


VERIFIED = ("run.json", "config.yaml", "summary.json", "metrics.jsonl", "environment.json", "overrides.yaml")


def _copy(world: World, run: Path) -> Path:
    copy = world.folder("fuzzed") / "run"
    shutil.copytree(run, copy)
    return copy


def _sweep(world: World) -> Path:
    outputs = world.folder("sweep")
    line = ["train-teacher", "-m", *world.net(6, 2, seed="0,1")]
    ended = world.run([*line, f"output_dir={outputs}"])
    assert ended.code == 0, ended.err
    (path,) = (outputs / "sweeps").iterdir()
    return path


def _config(run: Path) -> object:
    opened = RunDir.open(run)
    return parse_config(opened.record.command, opened.config(), error=CheckpointError, where="config.yaml")


def _of_checkpoint(run: Path, name: str) -> Parser:
    """A file of the best checkpoint, whose digest in the manifest and that in the pointer are made right again."""
    path = _best(run) / name
    return Parser(
        run / "checkpoints" / f"best{path.suffix}",
        lambda: load_trained(RunDir.open(run), CPU, trust_code=False),
        lambda change: rewrite(run, "best", name, change),
    )


def _manifest(run: Path) -> Parser:
    def put(change: Change) -> None:
        path = _best(run) / "manifest.json"
        path.write_bytes(change(path.read_bytes()))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        content = json.dumps({"dir": path.parent.name, "manifest_sha256": digest})
        (run / "checkpoints" / "best.json").write_text(content)

    return Parser(run / "checkpoints" / "best.json", lambda: checkpoint.load(run / "checkpoints", "best"), put)


def _best(run: Path) -> Path:
    return run / "checkpoints" / str(json.loads((run / "checkpoints" / "best.json").read_text())["dir"])


def _of_users(world: World) -> dict[str, Parser]:
    study = world.folder("user") / "study" / "mine.yaml"
    study.parent.mkdir()
    shutil.copy(world.study(), study)

    def read() -> object:
        file = read_study(study)
        return put_in(file, parameters_of(file, "full", {}), str(study))

    return {"a study": Parser(study, read)}


def _of_data(world: World) -> dict[str, Parser]:
    folder = world.folder("data")
    for name in ("table", "idx", "packed", "answers"):
        (folder / name).mkdir()
    table = folder / "table" / "table.csv"
    shutil.copy(world.table, table)
    images = struct.pack(">BBBBIII", 0, 0, 8, 3, 5, 6, 7) + bytes(5 * 6 * 7)
    plain, packed = folder / "idx" / "images", folder / "packed" / "images.gz"
    plain.write_bytes(images)
    packed.write_bytes(gzip.compress(images))
    return {
        "a CSV": Parser(table, lambda: read_table(table)),
        "an IDX file": Parser(plain, lambda: read_idx(plain)),
        "a packed IDX file": Parser(packed, lambda: read_idx(packed)),
        "the manifest of a teacher's answers": _answers(folder / "answers"),
    }


def _answers(store: Path) -> Parser:
    digest = "0" * 64
    asked = targets.Question(
        teacher_sha256=digest, normalizations_sha256=digest, data_fingerprint=digest, examples_sha256=digest,
        view="none", dtype="float32", members=1, views=1, examples=4, classes=3,
    )  # fmt: skip
    folder = store / asked.key
    folder.mkdir()
    (folder / targets.ANSWERS).write_bytes(bytes(asked.num_bytes))
    sha256 = hashlib.sha256(bytes(asked.num_bytes)).hexdigest()
    content = {"schema": 1, "question": asked.model_dump(), "sha256": sha256}
    (folder / targets.MANIFEST).write_text(json.dumps(content))
    assert targets.find(store, asked, CPU) is not None
    return Parser(folder / targets.MANIFEST, lambda: targets.find(store, asked, CPU))
