"""``scripts/faults``: run rows, a few groups of them at a time, and print one table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path

from faults import bombs, crash, damage, determinism, disk, fuzz, hostile, inputs
from faults.machine import Machine
from faults.table import Row, merge, table
from faults.world import JOBS, World

Rows = dict[str, Callable[[World], Row]]

LONG_ONLY = "R1 streamed"
"""Rows whose every start takes an interpreter for each worker."""

KILLED = [name for name in JOBS if not name.startswith("short")]
GROUPS: dict[str, Rows] = {
    "kills": {f"R1 {name}": partial(crash.killed, name=name) for name in KILLED},
    "moments": {
        "R2": crash.failpoints,
        "R3": disk.failing_calls,
        "R4": disk.power_cuts,
        "R5": disk.full_disk,
        "R6": damage.truncated,
        "R7": damage.flipped,
        "R8": damage.exchanged,
    },
    "signals": {
        "R9": crash.interrupted,
        "R10": crash.terminated,
        "R11": crash.sweeps,
        "R12": determinism.failing_jobs,
        "R14": determinism.altered,
        "R15": determinism.repeated,
    },
    "attacks": {
        "S1": hostile.pickles,
        "S2": hostile.hydra_targets,
        "S2 custom": hostile.own_code,
        "S3": hostile.static,
        "S4": hostile.secrets,
        "S5": bombs.bombs,
        "S6": bombs.names,
        "S7": bombs.dataset_files,
        "S8": bombs.links,
        "S9": fuzz.parsers,
        "S10": bombs.offline,
    },
    "mistakes": {
        "I1": inputs.values,
        "I2": inputs.classes,
        "I3": inputs.architectures,
        "I4": inputs.numbers,
        "I5": inputs.data,
        "I6": inputs.images,
        "I7": inputs.places,
        "I8": inputs.at_once,
        "I10": inputs.broken_yaml,
        "I11": inputs.settings,
        "I12": inputs.devices,
        "I13": determinism.teacher_unchanged,
        "I14": inputs.surroundings,
    },
}


def main() -> int:
    """Run what the command line asks for; 1 where a fault was not survived."""
    options = _options()
    chosen = {name: _chosen(rows, options.rows, long=options.long) for name, rows in GROUPS.items()}
    work = Path(tempfile.mkdtemp(prefix="faults-", dir=options.work))
    try:
        machine = Machine(work, options.without)
        found = _run_groups([rows for rows in chosen.values() if rows], machine, work, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    found.sort(key=lambda row: [name for rows in GROUPS.values() for name in rows].index(row.id))
    print(table(found))  # noqa: T201
    for row in found:
        for failure in row.failures:
            _say(f"{row.id}: {failure}")
    return 0 if found and all(row.passed for row in found) else 1


def _options() -> argparse.Namespace:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    parser = argparse.ArgumentParser(
        prog="scripts/faults", description="Inject faults into kd and count what it survives."
    )
    parser.add_argument("rows", nargs="*", help="R1 S5 'R1 sweep' ...; without any: all")
    parser.add_argument("--long", action="store_true", help="the long set: minutes a row")
    parser.add_argument("--out", type=Path, help="merge the results into this JSON file, and write the table beside it")
    parser.add_argument("--jobs", type=int, default=2, help="groups of rows at a time (2)")
    parser.add_argument("--work", default=memory, help="where files are made, and removed afterwards")
    parser.add_argument(
        "--without", choices=["rng", "rename", "verify"], help="a negative control: take this out of kd"
    )
    options = parser.parse_args()
    known = [name for rows in GROUPS.values() for name in rows]
    for asked in options.rows:
        if not any(_matches(asked, name) for name in known):
            parser.error(f"no row {asked!r}; there are: {', '.join(known)}")
    return options


def _matches(asked: str, name: str) -> bool:
    """By its whole name, by its number, or by what comes before a comma."""
    return asked in (name, name.split()[0], name.split(",")[0])


def _chosen(rows: Rows, asked: Sequence[str], *, long: bool) -> Rows:
    fitting = [name for name in rows if not asked or any(_matches(each, name) for each in asked)]
    named = [name for name in fitting if name in asked or name.split(",")[0] in asked]
    return {name: rows[name] for name in fitting if long or name in named or not name.startswith(LONG_ONLY)}


def _run_groups(groups: list[Rows], machine: Machine, work: Path, options: argparse.Namespace) -> list[Row]:
    """Run each group in a process of its own; results are kept as they come."""
    found: list[Row] = []
    running: dict[int, int] = {}
    while groups or running:
        while groups and len(running) < options.jobs:
            reader, pid = _start_group(groups.pop(0), machine, work, long=options.long)
            running[reader] = pid
        for reader in select.select(list(running), [], [])[0]:
            lines = _read_lines(reader)
            if lines is None:
                os.waitpid(running.pop(reader), 0)
                os.close(reader)
                continue
            for line in lines:
                row = Row(**json.loads(line))
                found.append(row)
                _say(f"{row.id}: {row.survived} of {row.injected} survived, {row.silent} silent, {row.seconds:.0f} s")
                if options.out is not None:
                    merge(options.out, [row], _about(options))
    return found


def _start_group(rows: Rows, machine: Machine, work: Path, *, long: bool) -> tuple[int, int]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        world = World(machine, Path(tempfile.mkdtemp(dir=work)), long)
        for name, run in rows.items():
            os.write(writer, json.dumps(asdict(_run_row(name, run, world))).encode() + b"\n")
        os._exit(0)
    os.close(writer)
    return reader, pid


def _run_row(name: str, run: Callable[[World], Row], world: World) -> Row:
    started = time.monotonic()
    try:
        row = run(world)
    except Exception:
        row = Row(name, "could not be run", "")
        row.add("the harness itself", traceback.format_exc(limit=-3))
    row.id, row.seconds = name, time.monotonic() - started
    return row


def _read_lines(reader: int) -> list[str] | None:
    """Whole lines; None at the end."""
    data = b""
    while not data.endswith(b"\n"):
        part = os.read(reader, 2**16)
        if not part:
            return None
        data += part
    return data.decode().splitlines()


def _about(options: argparse.Namespace) -> dict[str, str]:
    return {
        "command": "scripts/faults" + " --long" * options.long,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "versions": f"Python {platform.python_version()}, torch {metadata.version('torch')}",
    }


def _say(lines: str | Iterable[str]) -> None:
    print(lines, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
