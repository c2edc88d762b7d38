"""The configuration of each command, as Hydra composes it from ``conf/``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kdcli.schema.base import DEVICE, Count, Interval, Section, Seed, Temperature
from kdcli.schema.data import Dataset, Transfer
from kdcli.schema.method import AlphaSchedule, AnyLoss, TemperatureSchedule
from kdcli.schema.model import Model
from kdcli.schema.optimization import LrSchedule, Optimizer
from kdcli.schema.tracking import NoTracker, Tracker

EnsembleMean = Literal["arithmetic", "geometric"]
Normalizer = float | list[float] | Literal["measured"]
Device = Annotated[str, Field(pattern=DEVICE)]


class Sweep(Section):
    """How the jobs of a sweep run: ``fuse`` trains those that can be as one program, of at most ``members_max`` jobs.

    Without a number, a program is as large as memory allows and as leaves no worker of a launcher idle.
    """

    fuse: bool = True
    members_max: Count | None = None


class Targets(Section):
    """The cache of the teacher's answers: ``store`` is its directory, null for ``targets`` under ``output_dir``."""

    dtype: Literal["float32", "float16"] = "float32"
    store: str | None = None


class Course(Section):
    """What all training commands have in common, whatever network they train."""

    dataset: Dataset
    transfer: Transfer
    temperature: TemperatureSchedule
    alpha: AlphaSchedule
    optimizer: Optimizer
    lr_schedule: LrSchedule
    epochs: Annotated[int, Interval(1, 1_000_000)]
    batch_size: Annotated[int, Interval(1, 1_000_000)]
    seed: Seed
    data_seed: Seed
    select: Literal["best", "last"]
    early_stopping: Count | None
    device: Device
    precision: Literal["float32", "bf16"]
    compile: bool
    output_dir: str
    sweep: Sweep
    tracker: Tracker = NoTracker()


class Training(Course):
    """What the training of a network is told besides: which network, and what it minimises."""

    model: Model
    loss: AnyLoss


class TrainTeacher(Training):
    """``kd train-teacher``: one network, or an ensemble of ``members`` that differ by seed and perhaps by data."""

    members: Annotated[int, Interval(1, 1000)]
    members_data: Literal["all", "bootstrap", "parts"]


class Specialists(Section):
    """Which specialists a generalist gets, what they learn, and who is asked; docs/specialists.md explains each key."""

    count: Annotated[int, Interval(2, 1000)]
    size: Count | None
    temperature: Temperature
    seed: Seed
    restarts: Annotated[int, Interval(1, 10_000)]
    top: Count
    correction: bool
    full_softmax: bool


class TrainSpecialists(Course):
    """``kd train-specialists``: the generalist's RUN, and the specialists beside it."""

    teacher: str
    specialists: Specialists
    baseline: bool
    trust_code: bool


class Specialist(Training):
    """One network of ``kd train-specialists``, as its own run records it.

    ``special`` are the classes it knows, by their indices; the baseline, which has no dustbin, has null.
    """

    teacher: str
    specialists: Specialists
    special: list[int] | None
    trust_code: bool


class DistillStudent(Training):
    """``kd distill-student``: a student, the RUN or RUNs that teach it, and the undistilled baseline beside it."""

    teacher: str | list[str]
    ensemble: EnsembleMean
    baseline: bool
    targets: Targets
    trust_code: bool


class Bias(Section):
    """Classes whose bias is corrected, by number; none: it is not."""

    classes: list[Annotated[int, Interval(0)]] = []


class Evaluate(Section):
    """``kd evaluate``: the RUN or RUNs to measure, or exported files, with the ``dataset`` to measure those on."""

    run: str | list[str]
    dataset: Dataset | None = None
    ensemble: EnsembleMean
    latency: bool
    trust_code: bool
    device: Device
    output_dir: str
    bias: Bias = Bias()


class Import(Section):
    """``kd import``: a file of weights that another program wrote, and what these weights are.

    ``mean`` and ``std`` are the normalisation that the network was trained with: a number, one a channel, or
    ``measured``. ``classes`` are in the order of its outputs; null: in that of the data.
    """

    file: str
    model: Model
    dataset: Dataset
    mean: Normalizer
    std: Normalizer
    classes: list[str] | None
    prefix: str | None
    match: Literal["names", "order"]
    name: Annotated[str, Field(min_length=1, max_length=80)] | None
    device: Device
    output_dir: str


Config = TrainTeacher | DistillStudent | TrainSpecialists | Specialist | Evaluate | Import
