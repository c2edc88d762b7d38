"""R1, R2, R9-R11: killed, interrupted and asked to stop, at random and at every named moment; then resumed."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faults.compare import damage, difference, leftovers, records, snapshot
from faults.machine import LIMIT_S, Ended, Process
from faults.table import Row
from faults.world import Job, World
from kdcli import checkpoint
from kdcli.errors import CheckpointError

MORE_SAVES = {"share": 0.3}
"""kd spends 5 % of its time on saving; here it saves more often, so that more saves are hit."""

KILLS_A_STORY = 4
RESUMES = 3


@dataclass
class Story:
    """One program that is stopped again and again, and brought to its end."""

    job: Job
    outputs: Path
    real: bool = False
    stops: list[str] = field(default_factory=list)
    problem: str | None = None
    silent: bool = False

    def start(self) -> Process:
        """Start it, or resume it where there is something to resume."""
        line = self.job.line(self.outputs)
        if records(self.outputs):
            line = ["resume", f"output_dir={self.outputs}"]
        return self.job.world.machine.start(line, cwd=self.job.world.root, trap=MORE_SAVES, real=self.real)

    def failed(self, problem: str | None, *, silent: bool = False) -> bool:
        """Keep the first problem; whether there is one."""
        if self.problem is None and problem is not None:
            self.problem, self.silent = problem, silent
        return self.problem is not None

    def finish(self, run_again: Callable[[], str | None] = lambda: None) -> None:
        """Bring it to its end, undisturbed, and compare what came out; ``run_again`` says what ran that need not."""
        for _ in range(RESUMES):  # killed before its directory was there, it begins; so it may take two
            if self.problem is None and not self._is_finished():
                ended = self.start().wait()
                self.failed(None if ended.code == 0 else f"the last resume: {ended.shown}")
        self.failed(None if self._is_finished() else f"not finished: {self._standing()}")
        self._resume_finished()
        self.failed(damage(self.outputs) or leftovers(self.outputs))
        self.failed(run_again(), silent=True)
        self.failed(None if self.problem else difference(snapshot(self.outputs), self.job.expected), silent=True)
        self.job.world.drop(self.outputs)

    def _resume_finished(self) -> None:
        """Resume what has finished once more: one that was killed before its report gets it, and all else stays."""
        for run in [*self.outputs.glob("train-teacher/2*"), *self.outputs.glob("distill-student/2*")]:
            if self.problem is None and not (run / "report.html").exists() and not (run / "members").exists():
                ended = self.job.world.run(["resume", str(run)])
                self.failed(None if (run / "report.html").exists() else f"no report: {ended.shown}")

    def count(self, row: Row) -> None:
        """Put every stop of it into a row."""
        for stop in self.stops:
            row.add(stop, self.problem, silent=self.silent)

    def _is_finished(self) -> bool:
        return set(self._standing().values()) == {"finished"}

    def _standing(self) -> dict[str, str]:
        """The status of every run."""
        found = records(self.outputs)
        return {str(path.parent.relative_to(self.outputs)): json.loads(path.read_text())["status"] for path in found}


def killed(world: World, name: str) -> Row:
    """R1: the group is killed at a random time, of start-up, steps, saves, evaluation and report."""
    row = Row(
        f"R1 {name}", "SIGKILL of the process group at a random time, resumed",
        "weights, optimizer, noise, metrics, summary are the uninterrupted run's, bit by bit; nothing is left behind",
    )  # fmt: skip
    job, chance = world.job(name), random.Random(name)
    wanted = world.amount(1, 40)
    story_number = 0
    while row.injected < wanted:
        story = Story(job, job.outputs(), real=world.long and story_number % 2 == 0)
        story_number += 1
        for _ in range(min(KILLS_A_STORY, wanted - row.injected)):
            if not _kill_once(story, chance):
                break
        story.finish()
        story.count(row)
    return row


def _kill_once(story: Story, chance: random.Random) -> bool:
    """Kill it at a random time; False where it ended before, or is broken."""
    process = story.start()
    moment = chance.uniform(0, story.job.seconds + 2.5 * story.real)
    if not process.sleep(moment):
        story.failed(_ended_early(process.wait()))
        return False
    process.signal(signal.SIGKILL)
    process.wait()
    story.stops.append(f"killed after {moment:.2f} s{' (a new interpreter)' * story.real}")
    orphans = process.orphans()
    return not story.failed(f"{len(orphans)} processes are left" if orphans else damage(story.outputs))


def _ended_early(ended: Ended) -> str | None:
    return None if ended.code in (0, 2) else f"not stopped, and yet {ended.shown}"


def failpoints(world: World) -> Row:
    """R2: the process ends at a named moment of a save."""
    row = Row(
        "R2", "the process ends at a named moment of a write",
        "the last checkpoint loads at once, the old or the new one; resumed, it ends as if never stopped",
    )  # fmt: skip
    for name in ("short train-teacher", "short distill-student"):
        job = world.job(name)
        moments = _moments(job)
        chosen = moments if world.long else moments[:: max(1, len(moments) // 3)][:3]
        for moment in chosen:
            story = Story(job, job.outputs(), stops=[f"{name}: {moment}"])
            _end_at(story, moment)
            story.finish()
            story.count(row)
    return row


def _moments(job: Job) -> list[str]:
    """Every failpoint of a run: at its first visit, one in the middle and the last."""
    visits = job.world.folder("visits") / "names"
    outputs = job.outputs()
    trap = {**MORE_SAVES, "visits": str(visits)}
    job.world.run(job.line(outputs), trap=trap)
    counts = Counter(visits.read_text().split())
    job.world.drop(outputs)
    return [f"{name}:{at}" for name, count in counts.items() for at in sorted({1, (count + 1) // 2, count})]


def _end_at(story: Story, moment: str) -> None:
    """Run it up to a moment. How often a file is written depends on the time: what is not reached is no fault."""
    world = story.job.world
    environment = {"KD_FAILPOINT": moment}
    ended = world.run(story.job.line(story.outputs), trap=MORE_SAVES, env=environment)
    if ended.code == 0:
        story.stops.clear()
    elif not story.failed(None if ended.code == 137 else ended.shown):
        story.failed(damage(story.outputs) or _neither(story.outputs))


def _neither(outputs: Path) -> str | None:
    """Why a store has neither its old nor its new checkpoint."""
    for pointer in outputs.rglob("last.json"):
        try:
            checkpoint.load(pointer.parent, fallback=False)
        except CheckpointError as problem:
            return f"{pointer.parent.relative_to(outputs)}: {problem.what}"
    return None


def interrupted(world: World) -> Row:
    """R9: Ctrl-C, once, twice and ten times."""
    row = Row("R9", "Ctrl-C, once, twice or ten times", "exit 130, saved, no process left; twice: gone within a second")
    names = ("train-teacher", "distill-student", "sweep", "study")
    chance = random.Random(9)
    for number in range(world.amount(4, 60)):
        job = world.job(names[number % len(names)])
        story = Story(job, job.outputs(), real=world.long and number % 3 == 0)
        _ask(story, chance, [signal.SIGINT] * (1, 2, 10)[number % 3], {130, -signal.SIGINT})
        story.finish()
        story.count(row)
    return row


def terminated(world: World) -> Row:
    """R10: SIGTERM and SIGUSR1, as a batch system sends them before it kills."""
    row = Row(
        "R10",
        "SIGTERM or SIGUSR1, SIGKILL after 5 s",
        "exit 143, saved, status interrupted, resumed as if never stopped",
    )
    names = ("train-teacher", "distill-student", "sweep", "study")
    chance = random.Random(10)
    for number in range(world.amount(4, 50)):
        job = world.job(names[number % len(names)])
        story = Story(job, job.outputs(), real=world.long and number % 3 == 0)
        which = (signal.SIGTERM, signal.SIGUSR1)[number // len(names) % 2]
        _ask(story, chance, [which], {143})
        story.finish()
        story.count(row)
    return row


def _ask(story: Story, chance: random.Random, signals: Sequence[int], codes: set[int]) -> None:
    """Signal it at a random time while it works, and see how it ends."""
    process = story.start()
    if not _is_working(process, story.outputs):
        story.failed(_ended_early(process.wait()))
        return
    if not process.sleep(chance.uniform(0, 0.6 * story.job.seconds)):
        process.wait()
        return
    started = time.monotonic()
    for number in signals:
        process.signal(number)
        process.sleep(0.05)
    within = 1.0 if len(signals) > 1 else 5.0
    late = process.sleep(started + within - time.monotonic())
    process.signal(signal.SIGKILL)
    ended = process.wait()
    if ended.code == 0:
        return  # it had just finished
    story.stops.append(f"{story.job.name}: {len(signals)} x {signal.Signals(signals[0]).name}")
    story.failed(f"not gone after {within:.0f} s" if late else None)
    story.failed(None if ended.code in codes else f"it ended with {ended.shown}")
    story.failed(damage(story.outputs))
    # With the second Ctrl-C nothing more need be written: a record of a process that is gone counts as interrupted.
    story.failed(_still_running(story.outputs) if len(signals) == 1 else None)
    story.failed("processes are left" if process.orphans() else None)


def _is_working(process: Process, outputs: Path) -> bool:
    """Wait until there is a run that has begun."""
    end = time.monotonic() + LIMIT_S
    while process.sleep(0.002) and time.monotonic() < end:
        for path in records(outputs):
            if json.loads(path.read_text())["status"] == "running":
                return True
    return False


def _still_running(outputs: Path) -> str | None:
    for path in records(outputs):
        if json.loads(path.read_text())["status"] == "running":
            return f"{path.parent.relative_to(outputs)} is still called running"
    return None


def sweeps(world: World) -> Row:
    """R11: the parent of a sweep is killed; what has finished is never run again."""
    row = Row(
        "R11",
        "the parent of a sweep or study is killed",
        "every job once, none that has finished again, same directories",
    )
    for number in range(world.amount(1, 10)):
        for name in ("sweep of single jobs", "study")[: world.amount(1, 2)]:
            job = world.job(name)
            story = Story(job, job.outputs(), real=world.long and number % 2 == 0)
            chance = random.Random(f"{name} {number}")
            done: dict[Path, bytes] = {}
            for _ in range(2):
                going = _kill_once(story, chance)
                story.failed(_run_again(done), silent=True)
                done |= _done(story.outputs)
                if not going:
                    break
            story.finish(lambda done=done: _run_again(done))  # type: ignore[misc]
            story.count(row)
    return row


def _done(outputs: Path) -> dict[Path, bytes]:
    """The records of the trainings that have finished."""
    found = {path: path.read_bytes() for path in records(outputs)}
    return {path: data for path, data in found.items() if json.loads(data)["status"] == "finished"}


def _run_again(done: dict[Path, bytes]) -> str | None:
    for path, data in done.items():
        if path.read_bytes() != data:
            return f"{path.parent.name} had finished, and was run again"
    return None
