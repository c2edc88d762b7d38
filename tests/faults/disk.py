"""R3-R5: calls that fail, disks that are full, and power that fails."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from faults.compare import damage
from faults.crash import MORE_SAVES, Story
from faults.table import Row
from faults.traps import ERRNOS
from faults.world import Job, World
from kdcli import checkpoint
from kdcli.errors import KDError

CHECKPOINT_TESTS = Path(__file__).parents[1] / "checkpoint"
PAGE = 4096
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_REMOUNT, _PRIVATE, _RECURSIVE = 0x20, 0x40000, 0x4000


def failing_calls(world: World) -> Row:
    """R3: the Nth call that changes a file fails, once or from there on, for every N."""
    row = Row(
        "R3", "the Nth write, sync or rename of a run fails (ENOSPC, EIO, EDQUOT)",
        "exit 6 with the path, what was committed is whole; resumed, it ends as if nothing had been",
    )  # fmt: skip
    job = world.job("short train-teacher")
    calls = _count_calls(job)
    for number in range(1, calls + 1) if world.long else range(1, calls, max(1, calls // 4)):
        code = list(ERRNOS)[number % len(ERRNOS)]
        story = Story(job, job.outputs(), stops=[f"call {number} of {calls}: {code}"])
        trap = {"call": number, "errno": ERRNOS[code], "lasting": number % 2 == 0, "under": str(story.outputs)}
        ended = world.run(job.line(story.outputs), trap=trap)
        if ended.code not in (0, 6):
            story.failed(f"it ended with {ended.shown}")
        elif ended.code == 6 and ("where:" not in ended.err or "Traceback" in ended.err):
            story.failed(f"the error does not say where: {ended.err[:300]}")
        story.failed(damage(story.outputs))
        story.finish()
        story.count(row)
    return row


def _count_calls(job: Job) -> int:
    """How many calls that change files a run makes."""
    outputs, counted = job.outputs(), job.world.folder("count") / "count"
    trap = {"call": 0, "errno": 0, "under": str(outputs), "count": str(counted)}
    job.world.run(job.line(outputs), trap=trap)
    job.world.drop(outputs)
    return int(counted.read_text())


def full_disk(world: World) -> Row:
    """R5: a disk of a given size, which is made larger afterwards."""
    row = Row(
        "R5", "disk full: a tmpfs of a given size, or a limit on the size of files",
        "exit 6 with path, bytes needed and free; what was there is whole; resumed with space, as if nothing had been",
    )  # fmt: skip
    job, amount = world.job("short train-teacher"), world.amount(3, 20)
    fill = _on_small_disk if can_mount(world.folder("probe")) else _with_small_files
    for number in range(amount):
        share = (number + 0.5) / amount
        disk = world.folder("disk")
        story = Story(job, disk / "outputs", stops=[f"room for {share:.0%} of a run"])
        fill(story, disk, share)
        story.count(row)
        world.drop(disk)
    return row


def can_mount(place: Path) -> bool:
    """Whether a process may have mounts of its own here."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if with_own_mounts() and mount_memory(place, 2**20) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def with_own_mounts() -> bool:
    libc, user = ctypes.CDLL(None), os.geteuid()
    if libc.unshare(_NEWNS | (_NEWUSER if user else 0)) != 0:
        return False
    if user:
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    return bool(libc.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None) == 0)


def mount_memory(place: Path, size: int, flags: int = 0) -> bool:
    mount = ctypes.CDLL(None).mount
    return bool(mount(b"none", os.fsencode(place), b"tmpfs", flags, f"size={size}".encode()) == 0)


def _on_small_disk(story: Story, disk: Path, share: float) -> None:
    """In a process with mounts of its own: fill the disk, look, make it larger, resume and compare."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with_own_mounts()
            mount_memory(disk, PAGE * max(1, int(share * 60)))
            _fill_and_grow(story, lambda: mount_memory(disk, 2**26, _REMOUNT), {})
            os.write(writer, json.dumps([story.problem, story.silent]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    said = os.read(reader, 2**16)
    os.close(reader)
    story.problem, story.silent = json.loads(said) if said else ("nothing came back", False)


def _with_small_files(story: Story, disk: Path, share: float) -> None:
    _fill_and_grow(story, lambda: True, {"file_bytes": int(4000 * share)})


def _fill_and_grow(story: Story, grow: Callable[[], bool], trap: dict[str, Any]) -> None:
    ended = story.job.world.run(story.job.line(story.outputs), trap={**MORE_SAVES, **trap})
    if ended.code not in (0, 6):
        story.failed(f"it ended with {ended.shown}")
    elif ended.code == 6 and not ("where:" in ended.err and "needed" in ended.err and "free" in ended.err):
        story.failed(f"not told what is needed where: {ended.err[:300]}")
    story.failed(damage(story.outputs))
    grow()
    story.finish()


def power_cuts(world: World) -> Row:
    """R4: the power fails at a random moment of a training; the disk kept any part of what was not synced."""
    row = Row(
        "R4", "simulated loss of power during a training",
        "the last acknowledged checkpoint loads, metrics.jsonl reaches as far as it says, every record can be read",
    )  # fmt: skip
    power, work = _module("power"), world.folder("power")
    log = _recorded(world, power, work)
    for seed in range(world.amount(40, 500)):
        row.add(f"seed {seed}", _after_cut(power, log, world.folder("after"), seed))
    return row


def _module(name: str) -> ModuleType:
    """A module of tests/checkpoint, which is no package."""
    spec = importlib.util.spec_from_file_location(f"faults_{name}", CHECKPOINT_TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _recorded(world: World, power: ModuleType, work: Path) -> list[tuple[str, ...]]:
    """What a training does to the disk, and when each of its checkpoints was acknowledged."""
    line = world.job("short train-teacher").line(work / "outputs")
    pid = os.fork()
    if pid == 0:
        try:
            recorder = power.Recorder(pytest.MonkeyPatch(), work)
            _acknowledge(recorder.log)
            from kdcli.__main__ import main

            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            main(line)
            with open(world.root / "log.json", "w") as file:
                json.dump(recorder.log, file)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return [tuple(operation) for operation in json.loads((world.root / "log.json").read_text())]


def _acknowledge(log: list[tuple[str, ...]]) -> None:
    """Note in the log where kd goes on after a commit, which it takes for safe from then on."""
    real = checkpoint.prune

    def prune(store: Path, **options: Any) -> None:
        real(store, **options)
        log.append(("acknowledged", checkpoint.read_pointer(store, "last").dir))

    checkpoint.prune = prune  # type: ignore[assignment]
    from kdcli.program import commits

    commits.SAVE_SHARE = 1.0


def _after_cut(power: ModuleType, log: list[tuple[str, ...]], target: Path, seed: int) -> str | None:
    """What is wrong with the disk after a cut at a random moment."""
    chance = random.Random(seed)
    moment = chance.randrange(1, len(log) + 1)
    done = [operation for operation in log[:moment] if operation[0] != "acknowledged"]
    promised = [operation[1] for operation in log[:moment] if operation[0] == "acknowledged"]
    power.write_survivors(power.replayed(done), target, chance)
    problem = _broken_promise(target, promised[-1]) if promised else None
    shutil.rmtree(target)
    return problem


def _broken_promise(target: Path, promised: str) -> str | None:
    stores = list(target.rglob("checkpoints"))
    if len(stores) != 1:
        return f"{promised} was acknowledged, and there is no store"
    try:
        loaded = checkpoint.load(stores[0], fallback=False)
    except KDError as problem:
        return f"{promised} was acknowledged, and {problem.what}"
    offset = loaded.state["metrics"][0]
    size = (stores[0].parent / "metrics.jsonl").stat().st_size
    if loaded.path.name < promised or size < offset:
        return f"{promised} was acknowledged; {loaded.path.name} loads, with {size} of {offset} bytes of metrics"
    return damage(target)
