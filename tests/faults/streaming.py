"""Image folders that are decoded batch by batch, by workers: the same bits in every way, and a killed worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from faults.compare import damage, difference, snapshot
from faults.machine import LIMIT_S, Process
from faults.table import Row
from faults.world import World, streamed


def ways_of_reading(world: World, row: Row) -> None:
    """Held whole, decoded by the process itself, decoded by two workers: the same results."""
    outputs = world.folder("whole")
    line = [word for word in streamed(world, 0) if not word.startswith("dataset.memory")]
    ended = world.run([*line, "dataset.memory=whole", f"output_dir={outputs}"])
    expected = snapshot(outputs)
    for name in ("streamed, 0 workers", "streamed, 2 workers"):
        found = world.job(name).expected
        problem = ended.shown if ended.code else difference(found, expected)
        row.add(f"{name} instead of images held whole", problem, silent=ended.code == 0)
    world.drop(outputs)


def killed_worker(world: World) -> str | None:
    """What is wrong after the death of a worker: exit 6, the checkpoint whole, nobody left; resumed as if never."""
    line, outputs = streamed(world, 2, epochs=60), world.folder("killed-worker")
    process = world.machine.start([*line, f"output_dir={outputs}"], cwd=world.root, trap={"share": 1.0})
    if not _kill_a_worker(process, outputs):
        return f"no worker was found: {process.wait().shown}"
    ended = process.wait()
    if ended.code != 6 or "dataset.workers" not in ended.err or "Traceback" in ended.err:
        return ended.shown
    if process.orphans() or damage(outputs):
        return f"processes are left: {process.orphans()}, damage: {damage(outputs)}"
    return _resumed(world, line, outputs) if world.long else None


def _resumed(world: World, line: list[str], outputs: Path) -> str | None:
    whole = world.folder("no-worker-killed")
    for words in (["resume", f"output_dir={outputs}"], [*line, f"output_dir={whole}"]):
        ended = world.run(words)
        if ended.code:
            return ended.shown
    return difference(snapshot(outputs), snapshot(whole))


def _kill_a_worker(process: Process, outputs: Path) -> bool:
    """Kill one of two that are at work once there is a checkpoint."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        workers = [pid for pid in process.group() if pid != process.pid]
        if len(workers) == 2 and list(outputs.glob("*/*/checkpoints/last.json")):
            os.kill(workers[0], signal.SIGKILL)
            return True
        time.sleep(0.001)
    return False
