"""``--dry-run``: all that a training would use is built, and tried on one batch; nothing is written."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kdcli.build import Data, member_indices
from kdcli.data.order import batches
from kdcli.engine.bank import Bank
from kdcli.engine.fit import Fit
from kdcli.engine.ranks import ALONE, among
from kdcli.engine.results import EpochResult, Stopped
from kdcli.errors import DivergedError
from kdcli.memory import peak_bytes
from kdcli.program.finish import count_parameters
from kdcli.program.fits import make_fit
from kdcli.program.needs import Needs, needs
from kdcli.program.room import check_batch
from kdcli.program.run import Manner
from kdcli.program.slots import baseline_config, for_smoke, member_configs
from kdcli.program.specialists import COMMAND as SPECIALISTS
from kdcli.program.specialists import open_faculty
from kdcli.program.student import COMMAND as DISTILL
from kdcli.program.student import open_classroom, together
from kdcli.program.teacher import COMMAND as TRAIN
from kdcli.program.teacher import prepare
from kdcli.program.teaching import LoadedTeacher
from kdcli.report.units import plural
from kdcli.rundir import RunDir
from kdcli.schema import DistillStudent, Specialist, Training, TrainSpecialists, TrainTeacher
from kdcli.schema.commands import Targets
from kdcli.schema.model import model_label
from kdcli.teachers import Teacher

_VALIDATION = 256
_TIMED = 4
_FEW = 2


@dataclass(frozen=True)
class Rehearsal:
    """What a command would do: its networks, what they would see, and where it would write."""

    networks: Sequence[str]
    data: str
    course: str
    needs: Needs
    folder: Path

    def text(self) -> str:
        """The plan, a line each."""
        networks = "\n".join(f"network  {line}" for line in self.networks)
        written = "nothing was written; one batch went forward and backward"
        needs = "\n".join(self.needs.lines())
        places = f"data     {self.data}\ncourse   {self.course}\n{needs}\nrun      {self.folder}/..."
        return f"{networks}\n{places}\n{written}\n"


@among(ALONE)  # the other processes, where there are any, are not needed
def rehearse_teacher(config: TrainTeacher, manner: Manner) -> Rehearsal:
    """What ``kd train-teacher`` would do."""
    config = for_smoke(config) if manner.smoke else config
    members = member_configs(config)
    data, bank = prepare(config, members, manner)
    folder = Path(config.output_dir) / TRAIN
    names = ["teacher"] if len(members) == 1 else [f"member {k}" for k in range(len(members))]
    examples = len(member_indices(data, config, len(members))[0])
    networks = [_network(name, config, bank) for name in names]
    wanted = _tried(_Cohort(members, data, bank, None), examples, folder)
    return _plan(config, networks, data, examples, wanted, folder)


@among(ALONE)
def rehearse_student(config: DistillStudent, teacher_runs: Sequence[RunDir], manner: Manner) -> Rehearsal:
    """What ``kd distill-student`` would do."""
    config = for_smoke(config) if manner.smoke else config
    baseline = baseline_config(config) if config.baseline else None
    cohort = together(config, baseline)
    room = open_classroom(cohort, teacher_runs, manner)
    examples, folder = len(room.data.transfer), Path(config.output_dir) / DISTILL
    wanted = _tried(_Cohort(cohort, room.data, room.bank, room.teacher.teacher), examples, folder)
    networks = [*_members("teacher", room.teacher), _network("student", config, room.bank)]
    if baseline is not None:
        networks.append(_network("baseline", config, room.bank) + (" (by itself)" if len(cohort) == 1 else ""))
    return _plan(config, networks, room.data, examples, wanted, folder)


@among(ALONE)
def rehearse_specialists(config: TrainSpecialists, generalist: RunDir, manner: Manner) -> Rehearsal:
    """What ``kd train-specialists`` would do."""
    config = for_smoke(config) if manner.smoke else config
    faculty = open_faculty(config, generalist, manner)
    data, configs, folder = faculty.data, faculty.configs, Path(config.output_dir) / SPECIALISTS
    examples = len(data.transfer)
    wanted = _tried(_Cohort(configs, data, faculty.bank, faculty.generalist.teacher), examples, folder)
    names = [f"special {k}" for k in range(len(faculty.sets))] + ["baseline"] * config.baseline
    networks = _members("general", faculty.generalist)
    networks += [_network(name, each, faculty.bank) for name, each in zip(names, configs, strict=True)]
    return _plan(configs[0], networks, data, examples, wanted, folder)


def _members(name: str, teacher: LoadedTeacher) -> list[str]:
    pairs = zip(teacher.members, teacher.teacher.networks, strict=True)
    return [
        f"{name:<9} {model_label(member.card.model)}, {sum(p.numel() for p in network.parameters()):,} parameters, "
        f"from {member.run}"
        for member, network in pairs
    ]


def _network(name: str, config: Training, bank: Bank) -> str:
    parameters = count_parameters(bank.parameters(), bank.size)
    return f"{name:<9} {model_label(config.model)}, {parameters:,} parameters"


def _plan(
    config: Training, networks: Sequence[str], data: Data, examples: int, wanted: Needs, folder: Path
) -> Rehearsal:
    steps = len(batches(data.transfer[:examples], config.batch_size))
    real = int((data.transfer[:examples] < len(data.dataset.train)).sum())
    made = f"{data.num_cases:,} synthetic cases, " if data.num_cases else ""
    return Rehearsal(
        networks=networks,
        data=f"{data.dataset.name}: {real:,} of {len(data.train):,} training examples, "
        f"{made}{len(data.val):,} for validation, {len(data.test):,} for the test",
        course=f"{plural(config.epochs, 'epoch')} of {plural(steps, 'step')} with {config.batch_size:,} examples each, "
        f"{plural(config.epochs * steps, 'step')} in all, on {data.labels.device}",
        needs=wanted,
        folder=folder,
    )


def _tried(cohort: _Cohort, examples: int, folder: Path) -> Needs:
    """Train networks that are thrown away afterwards for a few batches, and tell what all of them would need."""
    first = cohort.configs[0]
    if cohort.data.labels.device.type == "cpu":  # what takes too much of a GPU gets an error, and is not killed
        check_batch(min(first.batch_size, examples), lambda part: peak_bytes(lambda: _try_batch(cohort.of_batch(part))))
    _try_batch(cohort)
    steps = len(batches(cohort.data.transfer[:examples], first.batch_size))
    with tempfile.TemporaryDirectory() as scratch:
        build = partial(cohort.fit, _TIMED, _FEW, scratch, epochs=2)
        return needs(first, cohort.data, cohort.bank, cohort.teacher, build, steps, folder)


def _try_batch(cohort: _Cohort) -> None:
    """Train networks that are thrown away afterwards for one batch.

    Raises:
        DivergedError: A loss or gradient was not finite.
    """
    with tempfile.TemporaryDirectory() as scratch:
        fit = cohort.fit(1, _VALIDATION, scratch)
        results = [event for event in fit.events() if isinstance(event, EpochResult)]
    if any(isinstance(member, Stopped) for member in results[-1].members):
        raise DivergedError("the very first batch gives a loss that is not finite", fix="lower optimizer.lr")


@dataclass(frozen=True)
class _Cohort:
    """What would train."""

    configs: Sequence[Training]
    data: Data
    bank: Bank
    teacher: Teacher | None

    def of_batch(self, size: int) -> _Cohort:
        """The same with another batch size."""
        return replace(self, configs=[config.model_copy(update={"batch_size": size}) for config in self.configs])

    def fit(self, count: int, num_val: int, scratch: str, *, epochs: int = 1) -> Fit:
        """A training of so many batches an epoch, validated on so many examples."""
        size, examples = count * self.configs[0].batch_size, None
        data = replace(self.data, val=self.data.val[:num_val])
        if isinstance(self.configs[0], Specialist):
            examples = max(2, min(size, len(data.transfer)))  # of all classes, which few examples may not be
        else:
            # Members that part the examples among themselves need as many batches as they are.
            data = replace(data, transfer=data.transfer[: size * len(self.configs)])
        brief = [_brief(config, scratch, epochs) for config in self.configs]
        return make_fit(brief, data, self.bank, self.teacher, epoch_examples=examples)


def _brief(config: Training, scratch: str, epochs: int) -> Training:
    change: dict[str, object] = {"epochs": epochs, "early_stopping": None}
    if isinstance(config, DistillStudent):
        change["targets"] = Targets(store=scratch)
    return config.model_copy(update=change)
