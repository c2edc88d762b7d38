"""A sweep: many jobs, grouped into cohorts that train as one program, each job a run of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kdcli.build import build_network, load_data, load_dataset, pick_device
from kdcli.engine.predict import predict
from kdcli.errors import CheckpointError
from kdcli.json_io import read_json, write_json_atomic
from kdcli.program.run import Manner, recorded
from kdcli.program.slots import Slot, baseline_config, for_smoke, teacher_names
from kdcli.program.student import Lesson, compare, open_classroom, teach
from kdcli.program.subjects import read_summary
from kdcli.program.teacher import prepare, train_teacher, train_together
from kdcli.program.teaching import recorded_run
from kdcli.rundir import RunDir
from kdcli.schema import DistillStudent, Training, TrainTeacher, convert, parse_config
from kdcli.schema.model import Custom
from kdcli.schema.sweep import ProgramFile, baseline_name, job_name
from kdcli.trained import load_trained

FUSED_BYTES = 4 * 2**30
"""A cohort's weights, gradients, optimizer state and best weights stay below this; a larger group is split."""

COPIES = 6
"""How many numbers a training holds for each weight: itself, its gradient, two of the optimizer, two snapshots."""

COHORTS = "cohorts"
"""Where in a sweep the programs' checkpoints are while they train."""

OWN_KEYS = {"temperature", "alpha", "seed", "baseline", "sweep", "output_dir", "trust_code"}


@dataclass(frozen=True)
class Plan:
    """How a sweep's jobs are carried out.

    ``baseline_of`` gives each job's baseline, ``groups`` the jobs that train as one program.
    """

    configs: Sequence[Training]
    baselines: Sequence[DistillStudent]
    baseline_of: Mapping[int, int]
    groups: Sequence[Sequence[int]]


def plan_sweep(configs: Sequence[Training]) -> Plan:
    """Group jobs that differ in nothing but what members of a cohort may own, and find the baselines they need."""
    baselines: dict[str, DistillStudent] = {}
    keys: dict[int, str] = {}
    for job, config in enumerate(configs):
        if isinstance(config, DistillStudent) and config.baseline:
            baseline = baseline_config(config)
            keys[job] = baseline_key(baseline)
            baselines.setdefault(keys[job], baseline)
    order = list(baselines)
    baseline_of = {job: order.index(key) for job, key in keys.items()}
    return Plan(configs, list(baselines.values()), baseline_of, _groups(configs))


def baseline_key(baseline: DistillStudent) -> str:
    """Equal for baselines that are the same training, whatever their students learn from whom."""
    return _text(baseline.model_dump(exclude={"teacher", "ensemble", "temperature", "alpha", "targets", "trust_code"}))


def _groups(configs: Sequence[Training]) -> list[list[int]]:
    alike: dict[str, list[int]] = {}
    for job, config in enumerate(configs):
        alike.setdefault(_fusion_key(job, config), []).append(job)
    return [
        jobs[start : start + most]
        for jobs in alike.values()
        for most in [_most_together(configs[jobs[0]])]
        for start in range(0, len(jobs), most)
    ]


def _fusion_key(job: int, config: Training) -> str:
    """Equal for jobs that can share a cohort; unique for those that must train by themselves."""
    if not config.sweep.fuse or (isinstance(config, TrainTeacher) and config.members > 1):
        return f"alone {job}"
    data = config.model_dump(exclude=OWN_KEYS)
    data["loss"].pop("label_smoothing")
    for own in ("lr", "weight_decay"):
        data["optimizer"].pop(own, None)
    return _text(data)


def _text(data: object) -> str:
    return json.dumps(data, sort_keys=True)


def _most_together(config: Training) -> int:
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


def read_program(path: Path) -> ProgramFile:
    """A program's file.

    Raises:
        CheckpointError: It is damaged.
    """
    return convert(ProgramFile, read_json(path), error=CheckpointError, where=str(path))


def is_done(sweep: RunDir, path: Path) -> bool:
    """Whether every network of a program came to its end: finished, or diverged, as it would again."""
    program = read_program(path)
    names = [*map(job_name, program.jobs), *map(baseline_name, program.baselines)]
    return all(RunDir.open(sweep.path / name).record.status in ("finished", "diverged") for name in names)


def _slot(sweep: RunDir, name: str, manner: Manner) -> Slot:
    run = RunDir.open(sweep.path / name)
    where = str(run.path / "config.yaml")
    config = parse_config(run.record.command, run.config(), error=CheckpointError, where=where)
    assert isinstance(config, Training)
    return Slot(run.record.label or name, for_smoke(config) if manner.smoke else config, run)


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


def compare_later(sweep: RunDir, job: int, baseline: int, manner: Manner) -> None:
    """Complete a job's summary with a baseline that trained in another group."""
    runs = [RunDir.open(sweep.path / job_name(job)), RunDir.open(sweep.path / baseline_name(baseline))]
    if any(run.record.status != "finished" for run in runs):
        return
    student, other = map(read_summary, runs)
    if student is None or other is None or student.baseline is not None or student.teacher is None:
        return
    right, of_baseline = (_right(sweep, run, manner) for run in runs)
    compared = compare(student, other, right, of_baseline, student.teacher.test.errors)
    runs[0].write_summary(student.model_copy(update={"baseline": compared}).model_dump(by_alias=True))


def _right(sweep: RunDir, run: RunDir, manner: Manner) -> Tensor:
    """Which test examples a finished run's network gets right."""
    slot = _slot(sweep, str(run.path.relative_to(sweep.path)), manner)
    config, device = slot.config, pick_device(slot.config.device)
    data = load_data(config.dataset, config.transfer, device, smoke=manner.smoke, batch_size=config.batch_size)
    trained = load_trained(run, device, trust_code=isinstance(config.model, Custom), select=config.select)
    everything = torch.arange(len(data.test))
    logits = predict(lambda inputs: trained.network(inputs)[None], data.test, everything, trained.normalization)
    return logits[0].argmax(1) == data.test_labels
