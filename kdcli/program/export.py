"""``kd export``: a run as one file that needs no kd, asked the same questions as the run before it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kdcli import __version__
from kdcli.disk import make_directory, remove_leftovers, write_atomic
from kdcli.errors import CheckpointError, MachineError, UsageError
from kdcli.json_io import write_json_atomic
from kdcli.models import count_parameters
from kdcli.portable import quantise, read, written
from kdcli.portable.network import Portable, as_program, make_portable
from kdcli.portable.session import Session
from kdcli.program.evaluation import ask
from kdcli.program.subjects import Exam, Subject, load_exams, load_subjects
from kdcli.rundir import RunDir
from kdcli.schema import Evaluate
from kdcli.schema.model import model_label
from kdcli.schema.portable import ExportCheck, ExportFile, PortableCard, PortableInput
from kdcli.teachers import weights_sha256

Format = Literal["onnx", "torch"]
TOLERANCE = 1e-4
"""How far a float32 export may be from its run, as a share of the largest logit (or of 1, if that is smaller)."""

_SUFFIX: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}


@dataclass(frozen=True)
class Wish:
    """What to export to: ``file`` None is a file of the run's own directory."""

    format: Format
    int8: bool
    file: Path | None

    def target(self, run: RunDir) -> Path:
        """Where the file goes."""
        name = f"model{'.int8' * self.int8}{_SUFFIX[self.format]}"
        return self.file or run.path / "export" / name


@dataclass(frozen=True)
class Plan:
    """What is exported, once everything that can be wrong beforehand has been checked."""

    wish: Wish
    subject: Subject
    exam: Exam
    target: Path


def plan_export(config: Evaluate, run: RunDir, wish: Wish, say: Callable[[str], None], *, smoke: bool) -> Plan:
    """Load a run and its data; nothing is written.

    Raises:
        CheckpointError: A checkpoint or record that cannot be trusted.
        DataError: What is found now is not what it was trained on.
        UsageError: It is no one network; a custom model or data set without ``trust_code``.
    """
    device = torch.device("cpu")
    (subject,) = load_subjects(config, [run], device, say)
    assert isinstance(subject, Subject)
    if subject.remembers:
        what = f"{run.path} is an ensemble selection, which is no network"
        raise UsageError(what, where="kd export", fix="distil it into a network, and export that")
    if subject.council is not None:
        what = f"{run.path} is a generalist with its specialists, which are no one network"
        raise UsageError(what, where="kd export", fix=f"export one of its networks, such as {run.path}/members/00")
    (exam,) = load_exams([subject], device, smoke=smoke)
    return Plan(wish, subject, exam, wish.target(run))


def export(plan: Plan) -> tuple[Path, ExportFile]:
    """Write a run's file, and the JSON beside it that says what it is.

    Raises:
        MachineError: The exported network does not say what the run says, or a package is missing; nothing is written.
        UsageError: The network cannot be exported.
    """
    portable = make_portable(plan.subject.members, plan.subject.ensemble)
    card = _card(plan, portable)
    program = as_program(portable, card.input.shape, str(plan.subject.run.path))
    data, answer = _made(plan, program, card)
    check = _check(plan, answer, float_file=card.precision == "float32")
    if plan.target.parent.is_symlink() and plan.wish.file is None:
        raise CheckpointError("a symbolic link where exports are kept", where=str(plan.target.parent), fix="remove it")
    make_directory(plan.target.parent)
    remove_leftovers(plan.target.parent)
    write_atomic(plan.target, data)
    told = ExportFile(
        schema=1,
        file=plan.target.name,
        format=plan.wish.format,
        bytes=len(data),
        sha256=sha256(data).hexdigest(),
        card=card,
        check=check,
    )
    write_json_atomic(plan.target.with_name(f"{plan.target.name}.json"), told.model_dump(by_alias=True))
    return plan.target, told


def _made(plan: Plan, program: Any, card: PortableCard) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    """The file's bytes, and what answers as they do."""
    if plan.wish.format == "torch":
        module = program.module()
        return written.torch_bytes(program, card), module
    where = str(plan.subject.run.path)
    model = written.onnx_model(program, where)
    if plan.wish.int8:
        train = plan.exam.train
        model = quantise.quantised(model, train.source.gather(train.indices[: quantise.CALIBRATION_EXAMPLES]))
    data = written.onnx_bytes(model, card)
    session = Session(data, torch.get_num_threads())
    return data, lambda raw: read.run_session(session, raw, len(card.classes), where)


def _card(plan: Plan, portable: Portable) -> PortableCard:
    subject = plan.subject
    known = subject.card
    image = len(known.input_shape) == 3
    return PortableCard(
        schema=1,
        kd=__version__,
        run=subject.run.record.id,
        run_sha256=weights_sha256([member.network.state_dict() for member in subject.members]),
        model=model_label(known.model),
        members=len(subject.members),
        ensemble=subject.ensemble if len(subject.members) > 1 else None,
        parameters=sum(count_parameters(network) for network in portable.networks),
        precision="int8" if plan.wish.int8 else "float32",
        dataset=known.dataset,
        fingerprint=known.fingerprint,
        input=PortableInput(
            dtype="uint8" if image else "float32",
            shape=list(known.input_shape),
            layout="NCHW" if image else "ND",
            meaning="pixels from 0 to 255" if image else "the columns as they are in the table",
        ),
        classes=list(known.classes),
    )


def _check(plan: Plan, answer: Callable[[Tensor], Tensor], *, float_file: bool) -> ExportCheck:
    """Ask the run and its file about the test set.

    Raises:
        MachineError: The file of a float32 network says something else.
    """
    part = plan.exam.test
    own = ask(plan.subject.logits, part, "test", plan.subject.place)
    found = ask(answer, part, "test", plan.subject.place)
    difference = float((own - found).abs().max())
    allowed = TOLERANCE * max(1.0, float(own.abs().max())) if float_file else None
    same = float((own.argmax(1) == found.argmax(1)).double().mean())
    if allowed is not None and difference > allowed:
        raise MachineError(
            f"the exported network differs from the run by {difference:.2g} in a logit, more than {allowed:.2g}, "
            f"and says the same class of {100 * same:.2f} % of {len(own):,} examples: nothing was written",
            where=str(plan.target),
            fix="try the other format, or other versions of torch, onnxscript and onnxruntime",
        )
    right = (float((each.argmax(1) == part.labels).double().mean()) for each in (own, found))
    return ExportCheck(
        examples=len(own),
        largest_difference=difference,
        allowed=allowed,
        agreement=same,
        top1_run=next(right),
        top1_file=next(right),
    )
