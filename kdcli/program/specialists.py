"""``kd train-specialists``: specialists beside a generalist, trained as one cohort and combined with it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdcli.build import Data, build_bank, load_data, pick_device
from kdcli.engine.bank import Bank
from kdcli.errors import SweepError, UsageError
from kdcli.program.combination import combined_summary
from kdcli.program.run import Finished, Manner, child, recorded, run_cohort, tested
from kdcli.program.slots import ENSEMBLE_SEED_STEP, Program, Slot, for_smoke
from kdcli.program.teaching import LoadedTeacher, answers_on_test, check_teacher, load_teacher
from kdcli.rundir import RunDir, create_run
from kdcli.rundir.find import SPECIALIST
from kdcli.schema import Course, Specialist, TrainSpecialists
from kdcli.schema.method import Loss
from kdcli.schema.model import Model, Selection, Timm, Torchvision
from kdcli.specialists import ClassSets, class_sets, prediction_covariance

COMMAND = "train-specialists"
BASELINE = "baseline"


@dataclass(frozen=True)
class Faculty:
    """What a training of specialists needs besides its runs, made before any directory is.

    ``configs`` are those of the specialists, in the order of ``sets``, and then that of the baseline, if there is one.
    """

    generalist: LoadedTeacher
    sha256: str
    data: Data
    sets: ClassSets
    configs: Sequence[Specialist]
    bank: Bank


def train_specialists(
    config: TrainSpecialists, generalist: RunDir, manner: Manner, run: RunDir | None = None
) -> RunDir:
    """Train what the configuration names, in a new run or on from where ``run`` stands."""
    config = for_smoke(config) if manner.smoke else config
    faculty = open_faculty(config, generalist, manner)
    run = run or create_run(Path(config.output_dir), COMMAND, **manner.contents(config))
    manner.say(f"{COMMAND} {run.path}")
    slots = _slots(faculty, run, manner)
    with recorded([run, *(slot.run for slot in slots)]):
        program = Program(slots, run.path / "cohort")
        finished = run_cohort(program, faculty.data, faculty.bank, faculty.generalist, manner, title=COMMAND)
        assert faculty.generalist.teacher.sha256() == faculty.sha256, "the generalist changed"
        _write_members(finished, faculty)
        _conclude(run, config, finished, faculty)
        shutil.rmtree(program.cohort)
    return run


def open_faculty(config: TrainSpecialists, generalist: RunDir, manner: Manner) -> Faculty:
    """Load the generalist and the data, find the classes of each specialist, and build the networks."""
    device = pick_device(config.device)
    loaded = load_teacher([generalist], device, ensemble="arithmetic", trust_code=config.trust_code, say=manner.say)
    _check_network(loaded)
    data = load_data(config.dataset, config.transfer, device, smoke=manner.smoke, batch_size=config.batch_size)
    check_teacher(loaded, data)
    data = as_generalist_sees(data, loaded)
    sets = find_sets(config, loaded, data)
    for number, special in enumerate(sets):
        manner.say(f"specialist {number}: {' '.join(data.dataset.classes[each] for each in special)}")
    configs = member_configs(config, loaded.members[0].card.model, sets)
    bank = build_bank(configs, data)
    for k in range(bank.size):
        bank.load(k, loaded.teacher.networks[0].state_dict())
    return Faculty(loaded, loaded.teacher.sha256(), data, sets, configs, bank)


def _check_network(loaded: LoadedTeacher) -> None:
    if isinstance(loaded.members[0].card.model, Selection):
        raise UsageError(
            f"a generalist is a network, and {loaded.runs[0].path} is an ensemble selection",
            where="teacher",
            fix="distil it into a network first: kd distill-student",
        )
    if len(loaded.members) > 1:
        raise UsageError(
            f"a generalist is one network, and {loaded.runs[0].path} holds {len(loaded.members)}",
            where="teacher",
            fix=f"name one of its members, such as teacher={loaded.members[0].run}, or distil it into one first",
        )


def as_generalist_sees(data: Data, generalist: LoadedTeacher) -> Data:
    """The data normalised with the generalist's numbers, whatever part of them it was trained on."""
    return replace(data, normalization=generalist.members[0].normalization)


def find_sets(config: TrainSpecialists, generalist: LoadedTeacher, data: Data) -> ClassSets:
    """The classes of each specialist, from what the generalist says of the transfer set; no label is looked at."""
    wanted = config.specialists
    said = generalist.teacher.log_probs(data.source, data.transfer)
    covariance = prediction_covariance((said / wanted.temperature).softmax(-1))
    return class_sets(covariance, wanted.count, size=wanted.size, seed=wanted.seed, restarts=wanted.restarts)


def member_configs(config: TrainSpecialists, model: Model, sets: ClassSets) -> list[Specialist]:
    """The configurations of the specialists, and of the baseline; network k has seed 1000 * seed + k."""
    if isinstance(model, Torchvision | Timm):
        model = model.model_copy(update={"pretrained": False})  # it begins with the generalist's weights
    shared = {name: getattr(config, name) for name in (*Course.model_fields, "teacher", "specialists", "trust_code")}
    special = [*map(list, sets), *([None] if config.baseline else [])]
    return [
        Specialist.model_validate(
            {
                **shared,
                "model": model,
                "loss": Loss(kind="kd" if config.specialists.full_softmax and classes is not None else "hard"),
                "seed": ENSEMBLE_SEED_STEP * config.seed + k,
                "special": classes,
            }
        )
        for k, classes in enumerate(special)
    ]


def _slots(faculty: Faculty, run: RunDir, manner: Manner) -> list[Slot]:
    slots = []
    for k, config in enumerate(faculty.configs):
        name, path = (BASELINE, BASELINE) if config.special is None else (f"specialist {k}", f"members/{k:02d}")
        slots.append(Slot(name, config, child(run, path, config, manner, SPECIALIST)))
    return slots


def _write_members(finished: Finished, faculty: Faculty) -> None:
    """The summary and status of each network; a specialist's numbers are in its own terms."""
    told = answers_on_test(faculty.generalist, faculty.data)
    for outcome in finished.outcomes:
        summary = tested(outcome, finished, told)
        if summary is not None:
            outcome.slot.run.write_summary(summary.model_dump(by_alias=True))
            finished.tracking.end(outcome.slot, summary)
            outcome.slot.run.set_status("finished")
    finished.tracking.close("diverged")


def _conclude(run: RunDir, config: TrainSpecialists, finished: Finished, faculty: Faculty) -> None:
    """The summary of generalist and specialists as one model."""
    slots = [outcome.slot for outcome in finished.outcomes[: len(faculty.sets)]]
    lost = [slot for slot in slots if slot.run.record.status != "finished"]
    if lost:
        raise SweepError(
            f"{len(lost)} of {len(slots)} specialists diverged; the others are whole",
            where=str(run.path / "members"),
            fix="lower optimizer.lr",
        )
    summary = combined_summary(run, config, finished, faculty.generalist, faculty.sha256, faculty.sets)
    run.write_summary(summary.model_dump(by_alias=True))
    run.set_status("finished")
