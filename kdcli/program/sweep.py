"""A sweep: many jobs, grouped into cohorts that train as one program, each job a run of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from kdcli.build import Data, build_network, load_data, load_dataset, pick_device
from kdcli.engine.predict import predict
from kdcli.errors import CheckpointError, KDError, MachineError
from kdcli.json_io import read_json, write_json_atomic
from kdcli.program.run import Manner, recorded
from kdcli.program.slots import Slot, baseline_config, for_smoke, teacher_names
from kdcli.program.specialists import train_specialists
from kdcli.program.student import Lesson, compare, open_classroom, teach
from kdcli.program.subjects import read_summary
from kdcli.program.teacher import prepare, train_teacher, train_together
from kdcli.program.teaching import recorded_run
from kdcli.rundir import RunDir, Status
from kdcli.rundir.run import ENVIRONMENT
from kdcli.schema import Course, DistillStudent, Training, TrainSpecialists, TrainTeacher, convert, parse_config
from kdcli.schema.model import Custom, Selection
from kdcli.schema.sweep import ProgramFile, baseline_name, job_name
from kdcli.trained import load_trained

FUSED_BYTES = 4 * 2**30
"""A cohort's weights, gradients, optimizer state and best weights stay below this; a larger group is split."""

COPIES = 6
"""How many numbers a training holds for each weight: itself, its gradient, two of the optimizer, two snapshots."""

COHORTS = "cohorts"
"""Where in a sweep the programs' checkpoints are while they train."""

OWN_KEYS = {"temperature", "alpha", "seed", "baseline", "sweep", "output_dir", "trust_code"}

SIZE_KEYS = {"fraction", "omit", "only", "cases", "keep_original"}
"""What decides how large a transfer set is: a baseline takes as many steps as its student, on whichever examples."""


@dataclass(frozen=True)
class Plan:
    """How a sweep's jobs are carried out.

    ``baseline_of`` gives each job's baseline, ``groups`` the jobs that train as one program.
    """

    configs: Sequence[Course]
    baselines: Sequence[DistillStudent]
    baseline_of: Mapping[int, int]
    groups: Sequence[Sequence[int]]


def plan_sweep(configs: Sequence[Course], *, at_once: int = 1) -> Plan:
    """Group jobs that differ in nothing but what members of a cohort may own, and find the baselines they need.

    Args:
        configs: The jobs.
        at_once: How many programs will run side by side; with enough jobs there are as many.
    """
    baselines: dict[str, DistillStudent] = {}
    keys: dict[int, str] = {}
    for job, config in enumerate(configs):
        if isinstance(config, DistillStudent) and config.baseline:
            baseline = baseline_config(config)
            keys[job] = baseline_key(baseline) + _text(config.transfer.model_dump(include=SIZE_KEYS))
            baselines.setdefault(keys[job], baseline)
    order = list(baselines)
    baseline_of = {job: order.index(key) for job, key in keys.items()}
    return Plan(configs, list(baselines.values()), baseline_of, _groups(configs, at_once))


def baseline_key(baseline: DistillStudent) -> str:
    """Equal for baselines that are the same training, whatever their students learn from whom."""
    return _text(baseline.model_dump(exclude={"teacher", "ensemble", "temperature", "alpha", "targets", "trust_code"}))


def _groups(configs: Sequence[Course], at_once: int) -> list[list[int]]:
    alike: dict[str, list[int]] = {}
    for job, config in enumerate(configs):
        alike.setdefault(_fusion_key(job, config), []).append(job)
    share = math.ceil(len(configs) / at_once)
    return [
        list(part)
        for jobs in alike.values()
        for part in even_parts(jobs, min(_most_together(configs[jobs[0]]), configs[jobs[0]].sweep.members_max or share))
    ]


def even_parts(jobs: Sequence[int], most: int) -> list[Sequence[int]]:
    """As few parts as there can be with at most ``most`` jobs each, whose sizes differ by one at most."""
    count = math.ceil(len(jobs) / most)
    bounds = [len(jobs) * part // count for part in range(count + 1)]
    return [jobs[start:end] for start, end in pairwise(bounds)]


def _fusion_key(job: int, config: Course) -> str:
    """Equal for jobs that can share a cohort; unique for those that must train by themselves."""
    several = isinstance(config, TrainSpecialists) or (isinstance(config, TrainTeacher) and config.members > 1)
    if not config.sweep.fuse or several:
        return f"alone {job}"
    data = config.model_dump(exclude=OWN_KEYS)
    data["loss"].pop("label_smoothing")
    for own in ("lr", "weight_decay"):
        data["optimizer"].pop(own, None)
    return _text(data)


def _text(data: object) -> str:
    return json.dumps(data, sort_keys=True)


def _most_together(config: Course) -> int:
    if not isinstance(config, Training) or isinstance(config.model, Selection):
        return 1
    dataset = load_dataset(config.dataset)
    weights = sum(parameter.numel() for parameter in build_network(config.model, dataset, 0).parameters())
    return max(1, FUSED_BYTES // (4 * COPIES * weights))


def write_programs(sweep: RunDir, plan: Plan) -> list[Path]:
    """Write a file for each group of jobs; a baseline that several groups share trains with the first of them."""
    folder = sweep.path / "programs"
    folder.mkdir()
    placed: set[int] = set()
    paths = []
    for number, group in enumerate(plan.groups):
        wanted = {plan.baseline_of[job] for job in group if job in plan.baseline_of} - placed
        placed |= wanted
        paths.append(folder / f"{number:02d}.json")
        write_json_atomic(paths[-1], {"schema": 1, "jobs": list(group), "baselines": sorted(wanted)})
    return paths


def run_program(sweep: RunDir, path: Path, manner: Manner) -> None:
    """Train one group of jobs, or go on with it."""
    program = read_program(path)
    run = RunDir.open(sweep.path / job_name(program.jobs[0]))
    alone = _config_of(run, manner)
    if isinstance(alone, TrainSpecialists):
        train_specialists(alone, recorded_run(alone.teacher, sweep), manner, run)
        return
    slots = [_slot(sweep, job_name(job), manner) for job in program.jobs]
    cohort = sweep.path / COHORTS / path.stem
    first = slots[0].config
    if isinstance(first, DistillStudent):
        _teach_group(sweep, program, slots, cohort, manner)
    elif isinstance(first, TrainTeacher) and len(slots) == 1:
        train_teacher(first, manner, slots[0].run)
    else:
        configs = [slot.config for slot in slots if isinstance(slot.config, TrainTeacher)]
        data, bank = prepare(configs[0], configs, manner)
        with recorded([slot.run for slot in slots]):
            train_together(slots, data, bank, cohort, manner)


def record_environment(sweep: RunDir, path: Path, manner: Manner) -> None:
    """Write this process's environment down in the runs of a program that has not begun.

    Raises:
        MachineError: The device that they ask for is not there.
    """
    runs = [run for run in runs_of(sweep, path) if run.record.status == "created"]
    if runs:
        environment = manner.contents(_config_of(runs[0], manner))["environment"]
        for run in runs:
            write_json_atomic(run.path / ENVIRONMENT, environment)


def read_program(path: Path) -> ProgramFile:
    """A program's file.

    Raises:
        CheckpointError: It is damaged.
    """
    return convert(ProgramFile, read_json(path), error=CheckpointError, where=str(path))


def runs_of(sweep: RunDir, path: Path) -> list[RunDir]:
    """The runs of a program: its jobs', then its baselines'."""
    program = read_program(path)
    names = [*map(job_name, program.jobs), *map(baseline_name, program.baselines)]
    return [RunDir.open(sweep.path / name) for name in names]


def is_done(sweep: RunDir, path: Path) -> bool:
    """Whether every network of a program came to its end: finished, or diverged, as it would again."""
    return all(run.record.status in ("finished", "diverged") for run in runs_of(sweep, path))


def close(runs: Iterable[RunDir], was: Status, becomes: Status, error: KDError) -> None:
    """Write down how those runs ended whose record still says what it ``was``."""
    for run in runs:
        if run.record.status == was:
            run.set_status(becomes, error)


def _slot(sweep: RunDir, name: str, manner: Manner) -> Slot:
    run = RunDir.open(sweep.path / name)
    config = _config_of(run, manner)
    assert isinstance(config, Training)
    return Slot(run.record.label or name, config, run)


def _config_of(run: RunDir, manner: Manner) -> Course:
    where = str(run.path / "config.yaml")
    config = parse_config(run.record.command, run.config(), error=CheckpointError, where=where)
    assert isinstance(config, Course)
    return for_smoke(config) if manner.smoke else config


def _teach_group(sweep: RunDir, program: ProgramFile, students: list[Slot], cohort: Path, manner: Manner) -> None:
    baselines = [_slot(sweep, baseline_name(number), manner) for number in program.baselines]
    lesson = Lesson(students, baselines, _baseline_names(students, baselines))
    configs = [slot.config for slot in lesson.together() if isinstance(slot.config, DistillStudent)]
    teachers = [recorded_run(name, sweep) for name in teacher_names(configs[0])]
    teach(lesson, open_classroom(configs, teachers, manner), cohort, manner)


def _baseline_names(students: Sequence[Slot], baselines: Sequence[Slot]) -> dict[str, str]:
    """The baseline of each student among those that train beside it."""
    keys = {baseline_key(slot.config): slot.name for slot in baselines if isinstance(slot.config, DistillStudent)}
    found = {}
    for slot in students:
        key = baseline_key(baseline_config(slot.config)) if isinstance(slot.config, DistillStudent) else ""
        if key in keys:
            found[slot.name] = keys[key]
    return found


def compare_later(sweep: RunDir, pairs: Iterable[tuple[int, int]], manner: Manner) -> None:
    """Complete the summaries of jobs, each with the baseline of its pair, where that trained in another group."""
    data: dict[str, Data] = {}

    @cache
    def right(name: str) -> Tensor:
        return _right(_slot(sweep, name, manner), data, manner)

    for job, baseline in pairs:
        names = job_name(job), baseline_name(baseline)
        runs = [RunDir.open(sweep.path / name) for name in names]
        if any(run.record.status != "finished" for run in runs):
            continue
        student, other = map(read_summary, runs)
        if student is None or other is None or student.baseline is not None or student.teacher is None:
            continue
        compared = compare(student, other, right(names[0]), right(names[1]), student.teacher.test.errors)
        runs[0].write_summary(student.model_copy(update={"baseline": compared}).model_dump(by_alias=True))


def _right(slot: Slot, loaded: dict[str, Data], manner: Manner) -> Tensor:
    """Which test examples a finished run's network gets right; ``loaded`` keeps the data for the next one."""
    config, device = slot.config, _device_here(slot.config.device)
    key = _text(config.dataset.model_dump())
    if key not in loaded:
        loaded[key] = load_data(
            config.dataset, config.transfer.labelled(), device, smoke=manner.smoke, batch_size=config.batch_size
        )
    data = loaded[key]
    trained = load_trained(slot.run, device, trust_code=isinstance(config.model, Custom), select=config.select)
    everything = torch.arange(len(data.test))
    logits = predict(lambda inputs: trained.network(inputs)[None], data.test, everything, trained.normalization)
    return logits[0].argmax(1) == data.test_labels


def _device_here(name: str) -> torch.device:
    """The device of a job where this machine has it: where programs ran elsewhere, it may not."""
    try:
        return pick_device(name)
    except MachineError:
        return torch.device("cpu")
