"""Runs that are measured side by side: their networks, and the data that all of them were trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kdcli import data
from kdcli.build import SMOKE_BATCHES, SMOKE_EXAMPLES, Data, load_data
from kdcli.data.source import Source
from kdcli.errors import CheckpointError, DataError, UsageError
from kdcli.losses import combine_members
from kdcli.models import count_bytes
from kdcli.portable.read import OnnxNetwork, read_onnx
from kdcli.program.teaching import recorded_run, selection
from kdcli.rundir import RunDir
from kdcli.schema import Course, Evaluate, Import, TrainSpecialists, convert, parse_config
from kdcli.schema.card import NetworkCard
from kdcli.schema.commands import EnsembleMean
from kdcli.schema.data import Dataset, OwnData, TrainingSet
from kdcli.schema.model import Selection
from kdcli.schema.portable import PortableCard
from kdcli.schema.results import Summary
from kdcli.specialists import Council
from kdcli.teachers import weights_sha256
from kdcli.trained import Trained, load_trained, member_runs


@dataclass(frozen=True)
class Subject:
    """A run that is measured: its network, or the members of its ensemble as one.

    ``summary`` is None where the training did not come to its end. With a ``council`` the members are a generalist and
    then its specialists.
    """

    run: RunDir
    config: Course | Import
    summary: Summary | None
    members: Sequence[Trained]
    ensemble: EnsembleMean
    council: Council | None = None

    @property
    def place(self) -> Path:
        """Where it lies."""
        return self.run.path

    @property
    def dataset(self) -> Dataset:
        """The data that it is asked about: those that it was trained on."""
        return self.config.dataset

    @property
    def card(self) -> NetworkCard:
        """What its network is; the members of an ensemble differ in their weights only."""
        return self.members[0].card

    @property
    def remembers(self) -> bool:
        """Whether it is an ensemble selection, whose answers are kept and not worked out: they take no time."""
        return isinstance(self.card.model, Selection)

    @property
    def num_bytes(self) -> int:
        """The size of its networks; of an ensemble selection that of the models, which are not at hand."""
        if self.summary is not None and self.summary.selection is not None:
            return self.summary.bytes or 0
        return sum(count_bytes(member.network) for member in self.members)

    def logits(self, raw: Tensor) -> Tensor:
        """What it says of raw inputs ``(B, ...)`` on its device: logits ``(B, C)``, float32."""
        answers = [member.network(member.normalization(raw)).float() for member in self.members]
        if self.council is not None:
            generalist, *specialists = [each.cpu() for each in answers]  # not every device knows float64
            return self.council.log_probs(generalist, specialists).float()
        return combine_members(torch.stack(answers), 1.0, self.ensemble)


@dataclass(frozen=True)
class ExportedFile:
    """A file of ``kd export`` that is measured, on data that the user names."""

    network: OnnxNetwork
    dataset: Dataset

    @property
    def place(self) -> Path:
        """Where it lies."""
        return self.network.path

    @property
    def card(self) -> PortableCard:
        """What it says of itself."""
        return self.network.card

    def logits(self, raw: Tensor) -> Tensor:
        """What it says of raw inputs ``(B, ...)``: logits ``(B, C)``, float32."""
        return self.network.logits(raw)


Asked = Subject | ExportedFile


def load_subjects(
    config: Evaluate, runs: Sequence[RunDir | Path], device: torch.device, say: Callable[[str], None]
) -> list[Asked]:
    """Load what ``kd evaluate`` is asked to measure.

    Args:
        config: Of the evaluation.
        runs: Trainings, or exported files by their paths.
        device: Where the networks go.
        say: Told of a run that did not finish, or whose selected checkpoint is damaged so that another one serves.

    Raises:
        CheckpointError: A checkpoint or record that cannot be trusted.
        UsageError: The runs were trained on different data, or a custom model lacks ``trust_code``.
    """
    found = {run.path: _load(run, config, device, say) for run in runs if isinstance(run, RunDir)}
    subjects = [
        found[run.path] if isinstance(run, RunDir) else ExportedFile(read_onnx(run), _data_of_files(config, found))
        for run in runs
    ]
    first = subjects[0]
    for other in subjects[1:]:
        if other.card.fingerprint != first.card.fingerprint:
            raise UsageError(
                f"runs on different data cannot be compared: {first.place} knows {_of(first.card)}, "
                f"{other.place} {_of(other.card)}",
                where="run",
                fix="evaluate them one by one",
            )
    return subjects


def _data_of_files(config: Evaluate, runs: Mapping[Path, Subject]) -> Dataset:
    """What the user names, or the data of a run beside it."""
    beside = next(iter(runs.values()), None)
    section = config.dataset or (None if beside is None else beside.dataset)
    assert section is not None, "checked with the names"
    return section


def _load(run: RunDir, config: Evaluate, device: torch.device, say: Callable[[str], None]) -> Subject:
    if run.status != "finished":
        say(f"{run.path} is {run.status}: what is measured is the checkpoint it left")
    where = str(run.path / "config.yaml")
    own = parse_config(run.record.command, run.config(), error=CheckpointError, where=where)
    assert isinstance(own, Course | Import)
    if isinstance(own.dataset, OwnData) and not config.trust_code:
        raise UsageError(
            f"{where} asks for code of its own: {own.dataset.target!r}",
            where="dataset.target",
            fix="add trust_code=true if you know what that code does",
        )
    networks = [*([recorded_run(own.teacher, run)] if isinstance(own, TrainSpecialists) else []), *member_runs(run)]
    members = [
        load_trained(each, device, trust_code=config.trust_code, select=selection(each), say=say) for each in networks
    ]
    for member in members:
        if member.note is not None:
            say(f"{member.run}: {member.note}")
    council = _council(run, own, members) if isinstance(own, TrainSpecialists) else None
    return Subject(run, own, read_summary(run), members, config.ensemble, council)


def _council(run: RunDir, config: TrainSpecialists, members: Sequence[Trained]) -> Council:
    """Who of a run's networks is asked about which classes; their generalist must be the one that they began as."""
    summary = read_summary(run)
    if summary is None or summary.specialists is None or summary.teacher is None:
        raise UsageError(f"{run.path} is {run.status}", where="run", fix=f"kd resume {run.path}")
    where = str(run.path / "summary.json")
    if weights_sha256([members[0].network.state_dict()]) != summary.teacher.sha256:
        raise CheckpointError(
            f"the weights of {members[0].run} are not those that its specialists began as", where=where
        )
    classes = list(members[0].card.classes)
    told = [set(each) for each in summary.specialists.sets]
    if len(told) != len(members) - 1 or not all(set() < each < set(classes) for each in told):
        raise CheckpointError("the classes of the specialists are not those of these networks", where=where)
    sets = tuple(tuple(number for number, name in enumerate(classes) if name in each) for each in told)
    return Council(sets, config.specialists.top)


def read_summary(run: RunDir) -> Summary | None:
    """The result of a training; None where it has none yet.

    Raises:
        CheckpointError: It is damaged.
    """
    path = run.path / "summary.json"
    return convert(Summary, run.summary(), error=CheckpointError, where=str(path)) if path.exists() else None


@dataclass(frozen=True, eq=False)
class Part:
    """Examples that runs are asked about as they are: ``indices`` into ``source``, and their labels on the CPU."""

    source: Source
    indices: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Exam:
    """What a run is asked: the test set, and the part of the training set that is not for validation."""

    data: Data
    test: Part
    train: Part


def load_exams(subjects: Sequence[Asked], device: torch.device, *, smoke: bool) -> list[Exam]:
    """Each run's exam, its data parted as its own configuration says; runs that agree in that share it.

    Raises:
        DataError: What is found now is not what a run was trained on.
    """
    exams: dict[str, Exam] = {}
    for subject in subjects:
        key = _section_key(subject)
        if key not in exams:
            exams[key] = load_exam(subject.dataset, device, smoke=smoke)
        _check_data(subject, exams[key].data.dataset)
    return [exams[_section_key(subject)] for subject in subjects]


def _section_key(subject: Asked) -> str:
    return subject.dataset.model_copy(update={"views": "none"}).model_dump_json()


def load_exam(section: Dataset, device: torch.device, *, smoke: bool) -> Exam:
    """The exam on the data that a section names."""
    whole = TrainingSet(kind="training_set")
    loaded = load_data(section, whole, device, smoke=smoke, batch_size=SMOKE_EXAMPLES)
    train = loaded.train[: SMOKE_BATCHES * SMOKE_EXAMPLES] if smoke else loaded.train
    return Exam(
        data=loaded,
        test=Part(loaded.test, torch.arange(len(loaded.test)), loaded.test_labels),
        train=Part(loaded.source, train, loaded.dataset.train.labels[train]),
    )


def _check_data(subject: Asked, dataset: data.Dataset) -> None:
    if isinstance(subject, ExportedFile):
        _check_card(subject.card, subject.place, dataset, "dataset", "name the data it was trained on")
        return
    for member in subject.members:
        where = f"{subject.run.path}/config.yaml: dataset"
        _check_card(member.card, member.run, dataset, where, "put back the data it was trained on, or train again")


def _check_card(card: NetworkCard | PortableCard, place: Path, dataset: data.Dataset, where: str, fix: str) -> None:
    held = (dataset.fingerprint, dataset.classes, dataset.input_shape)
    known = (card.fingerprint, tuple(card.classes), tuple(card.input_shape))
    if known != held:
        raise DataError(
            f"{place} was trained on {_described(card.dataset, *known)}; "
            f"what is found now is {_described(dataset.name, *held)}",
            where=where,
            fix=fix,
        )


def _of(card: NetworkCard | PortableCard) -> str:
    return _described(card.dataset, card.fingerprint, card.classes, card.input_shape)


def _described(name: str, fingerprint: str, classes: Sequence[str], shape: Sequence[int]) -> str:
    size = "x".join(map(str, shape))
    return f"{name} (fingerprint {fingerprint[:12]}, {len(classes)} classes, examples of shape {size})"
