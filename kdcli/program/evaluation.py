"""``kd evaluate``: runs measured side by side, on the test set and on what they learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdcli.build import pick_device
from kdcli.data.memory import available_bytes
from kdcli.data.source import BATCH
from kdcli.errors import DivergedError
from kdcli.json_io import write_json_atomic
from kdcli.memory import limited_memory
from kdcli.metrics import confusion_matrix, mcnemar, measure, reliability_bins
from kdcli.models import count_macs, count_parameters
from kdcli.portable.read import OnnxNetwork
from kdcli.program.biases import check_classes, correct_bias, unseen
from kdcli.program.finish import as_result
from kdcli.program.latency import measure_latency
from kdcli.program.past_teacher import PastTeachers
from kdcli.program.run import Manner, recorded
from kdcli.program.subjects import Asked, Exam, Part, Subject, load_exams, load_subjects
from kdcli.rundir import RunDir, create_run, describe_environment
from kdcli.schema import Evaluate
from kdcli.schema.model import model_label
from kdcli.schema.results import BiasSummary, EvaluatedRun, Evaluation, Latency, PairedTest, ReliabilityBin

COMMAND = "evaluate"
EVALUATION = "evaluation.json"
LATENCY_BATCHES = (1, 256)


@dataclass(frozen=True)
class Measured:
    """What was found of a run, and which test examples it gets right, shape ``(N,)``."""

    run: EvaluatedRun
    right: Tensor


@dataclass(frozen=True)
class Plan:
    """What is measured where, once everything that can be wrong beforehand has been checked."""

    config: Evaluate
    device: torch.device
    pairs: Sequence[tuple[Asked, Exam]]


def plan_evaluation(config: Evaluate, runs: Sequence[RunDir | Path], manner: Manner) -> Plan:
    """Load trainings, or exported files, and their data; nothing is written.

    Raises:
        CheckpointError: A checkpoint or record that cannot be trusted.
        UsageError: The runs were trained on different data, or a custom model lacks ``trust_code``.
        DataError: What is found now is not what a run was trained on.
        MachineError: The device is not there.
    """
    device = pick_device(config.device)
    subjects = load_subjects(config, runs, device, manner.say)
    exams = load_exams(subjects, device, smoke=manner.smoke)
    check_classes(config.bias.classes, exams[0])
    return Plan(config, device, list(zip(subjects, exams, strict=True)))


def evaluate(plan: Plan, manner: Manner) -> Evaluation:
    """Measure the trainings, in a new run directory that holds ``evaluation.json``.

    Raises:
        DivergedError: The answers of a network are not finite.
    """
    contents = manner.contents(plan.config) | {"environment": describe_environment(str(plan.device))}
    home = create_run(Path(plan.config.output_dir), COMMAND, **contents)
    manner.say(f"{COMMAND} {home.path}")
    teachers = PastTeachers(plan.device, trust_code=plan.config.trust_code, say=manner.say)
    with recorded([home]):
        measured = []
        for subject, exam in plan.pairs:
            manner.say(f"measuring {subject.place}")
            with _guarded(subject):
                latency = _latency(subject, exam, brief=manner.smoke) if plan.config.latency else []
                measured.append(measure_run(subject, exam, teachers, latency, plan.config.bias.classes))
        classes = list(plan.pairs[0][1].data.dataset.classes)
        runs = [each.run for each in measured]
        result = Evaluation(schema=1, run=str(home.path), classes=classes, runs=runs, paired=_paired(measured))
        write_json_atomic(home.path / EVALUATION, result.model_dump(by_alias=True))
        home.set_status("finished")
    return result


def _paired(measured: Sequence[Measured]) -> list[PairedTest]:
    """Every two runs, on the same test examples."""
    tests = [(a, b, mcnemar(a.right, b.right)) for a, b in combinations(measured, 2)]
    return [
        PairedTest(a=a.run.run, b=b.run.run, only_a=test.only_a, only_b=test.only_b, p_value=test.p_value)
        for a, b, test in tests
    ]


def _guarded(subject: Asked) -> AbstractContextManager[None]:
    """A file has been tried on a small batch only: of a large one, a hostile graph might make more than there is."""
    return nullcontext() if isinstance(subject, Subject) else limited_memory(available_bytes())


def measure_run(
    subject: Asked, exam: Exam, teachers: PastTeachers, latency: list[Latency], bias: Sequence[int] = ()
) -> Measured:
    """Everything that is reported of one run or file.

    Raises:
        DivergedError: Its answers are not finite.
    """
    teacher = teachers.answers(subject, exam) if isinstance(subject, Subject) else None
    test, train = (
        ask(subject.logits, part, name, subject.place) for part, name in ((exam.test, "test"), (exam.train, "training"))
    )
    labels = exam.test.labels
    found = EvaluatedRun(
        run=str(subject.place),
        dataset=subject.card.dataset,
        **(_of_run(subject) if isinstance(subject, Subject) else _of_file(subject.network)),
        test=as_result(measure(test, labels, None if teacher is None else teacher.test)),
        train=as_result(measure(train, exam.train.labels, None if teacher is None else teacher.train)),
        latency=latency,
        reliability=[ReliabilityBin(**asdict(each)) for each in reliability_bins(test, labels)],
        confusion=confusion_matrix(test, labels).tolist(),
        bias=_bias(subject, exam, test, bias) if bias else None,
    )
    return Measured(found, test.argmax(1) == labels)


def _bias(subject: Asked, exam: Exam, test: Tensor, classes: Sequence[int]) -> BiasSummary:
    return correct_bias(classes, test, exam, ask(subject.logits, unseen(exam), "validation", subject.place))


def _of_run(subject: Subject) -> dict[str, Any]:
    networks = [member.network for member in subject.members]
    return {
        "command": subject.run.record.command,
        "model": model_label(subject.card.model),
        "members": len(networks),
        "parameters": sum(map(count_parameters, networks)),
        "macs": sum(count_macs(network, tuple(subject.card.input_shape)) for network in networks),
        "bytes": subject.num_bytes,
    }


def _of_file(network: OnnxNetwork) -> dict[str, Any]:
    card = network.card
    return {
        "command": "export",
        "model": f"{card.model} (onnx{' int8' * (card.precision == 'int8')})",
        "members": card.members,
        "parameters": card.parameters,
        "macs": None,
        "bytes": network.size,
    }


@torch.no_grad()
def ask(logits: Callable[[Tensor], Tensor], part: Part, name: str, place: Path) -> Tensor:
    """What a network says of a part of the data: logits ``(N, C)`` on the CPU.

    Args:
        logits: The network, from raw examples.
        part: The data.
        name: What they are called.
        place: Where the network lies, for the error.

    Raises:
        DivergedError: They are not finite.
    """
    said = torch.cat([logits(raw).cpu() for raw in part.source.batches(part.indices.split(BATCH))])
    finite = said.isfinite().all(1)
    if not bool(finite.all()):
        raise DivergedError(
            f"{int((~finite).sum())} of {len(said)} answers on the {name} set are NaN or infinite",
            where=str(place),
            fix="the network had diverged: train it again with a lower optimizer.lr",
        )
    return said


def _latency(subject: Asked, exam: Exam, *, brief: bool) -> list[Latency]:
    if isinstance(subject, Subject) and subject.remembers:
        return []
    source = exam.test.source
    batches = [source.gather(torch.arange(size) % len(source)) for size in LATENCY_BATCHES]
    return [measure_latency(subject.logits, raw, brief=brief) for raw in batches]
