"""A small world to train in: examples of three classes, and two fixed networks that teach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli.data.normalize import Normalization
from kdcli.data.source import TensorSource
from kdcli.data.types import Kind, Split
from kdcli.data.views import Identity, View
from kdcli.engine.bank import make_bank
from kdcli.engine.fit import Fit, FitPlan, MemberPlan
from kdcli.engine.predict import Validation
from kdcli.engine.results import EpochResult
from kdcli.engine.stream import Stream, Targets
from kdcli.engine.update import Rule, SgdRule
from kdcli.models import build_model
from kdcli.objective import Objective, Span
from kdcli.schedules import Constant, ConstantRate, Plateau, RateSchedule, Schedule
from kdcli.teachers import LiveTargets, Teacher

CPU = torch.device("cpu")
CLASSES = 3
TRAIN, VAL = 56, 20  # with batches of 16 the last of an epoch holds 8


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def precision_is_left_as_it_was() -> Iterator[None]:
    """What is set for the process would change every test after this one."""
    yield
    assert [torch.backends.mkldnn.matmul.fp32_precision, torch.backends.mkldnn.conv.fp32_precision] == ["none", "none"]


@dataclass(frozen=True)
class Member:
    """What is one network's own."""

    seed: int = 0
    temperature: Schedule = Constant(2.0)
    alpha: Schedule = Constant(0.5)
    lr: float = 0.1
    rate: RateSchedule | Plateau = field(default_factory=ConstantRate)
    rule: Rule = field(default_factory=lambda: SgdRule(momentum=0.9))
    label_smoothing: float = 0.0

    def plan(self) -> MemberPlan:
        return MemberPlan(self.rule, self.lr, self.rate, self.temperature, self.alpha)

    def span(self) -> Span:
        ends = [self.alpha.value(step, 10**6) for step in (0, 10**6 - 1)]
        return Span(min(ends), max(ends))


@dataclass(frozen=True)
class Mute:
    """A teacher that says nothing that is a number: ``value`` throughout."""

    value: float

    def logits(self, positions: Tensor, views: Tensor, inputs: Tensor) -> Tensor:
        """See Targets."""
        return torch.full((2, len(positions), CLASSES), self.value)


@dataclass(frozen=True)
class World:
    """Examples, the first ``TRAIN`` of them for training, and a teacher of two members."""

    split: Split
    kind: Kind
    teacher: Teacher
    member: Callable[..., Member] = Member
    mute: Callable[[float], Targets] = Mute

    @property
    def normalization(self) -> Normalization:
        return Normalization.of(self.split.subset(torch.arange(TRAIN)), self.kind)

    @property
    def source(self) -> TensorSource:
        return TensorSource(self.split.inputs, CPU)

    def mlp(self, hidden: Sequence[int] = (12, 9), **options: Any) -> Callable[[int], nn.Module]:
        """A maker of fully connected networks."""
        return self.maker("mlp", hidden=hidden, **options)

    def maker(self, name: str, **options: Any) -> Callable[[int], nn.Module]:
        """From a seed to one of kd's networks."""
        shape = tuple(self.split.inputs.shape[1:])
        return lambda seed: build_model(name, shape, CLASSES, options, seed=seed)

    def validation(self, *, with_teacher: bool = True) -> Validation:
        indices = torch.arange(TRAIN, TRAIN + VAL)
        answers = self.teacher.log_probs(self.source, indices) if with_teacher else None
        return Validation(self.source, indices, self.split.labels[indices], self.normalization, answers)

    def stream(
        self,
        *,
        indices: Sequence[Tensor] | None = None,
        view: View | None = None,
        targets: Targets | None = None,
        batch_size: int = 16,
        data_seed: int = 0,
        epoch_examples: int | None = None,
    ) -> Stream:
        return Stream(
            self.source, self.split.labels, indices or [torch.arange(TRAIN)], view or Identity(),
            self.normalization, batch_size, data_seed, targets, epoch_examples,
        )  # fmt: skip

    def fit(
        self,
        members: Sequence[Member],
        *,
        make: Callable[[int], nn.Module] | None = None,
        epochs: int = 2,
        early_stopping: int | None = None,
        bf16: bool = False,
        validated: bool = True,
        soft_loss: str = "kd",
        teacher: Targets | None = None,
        **stream: Any,
    ) -> Fit:
        """The training of a cohort; members whose alpha is 0 throughout, or who teach each other, have no teacher."""
        make = make or self.mlp()
        seeds = [m.seed + 100 for m in members]
        bank = make_bank([make(m.seed) for m in members], seeds, CPU, compiled=False)
        smoothing = tuple(m.label_smoothing for m in members)
        objective = Objective(tuple(m.span() for m in members), soft_loss, "arithmetic", smoothing)
        taught = objective.uses_teacher and soft_loss != "mutual"
        targets = (teacher or LiveTargets(self.teacher)) if taught else None
        plan = FitPlan([m.plan() for m in members], epochs, early_stopping, bf16)
        validation = self.validation() if validated else None
        return Fit(bank, self.stream(targets=targets, **stream), objective, plan, validation)


def epochs_of(fit: Fit, stop: Callable[[], bool] = lambda: False) -> list[EpochResult]:
    """Train, and keep what every epoch yields."""
    return [event for event in fit.events(stop) if isinstance(event, EpochResult)]


def weights_of(fit: Fit, member: int = 0) -> dict[str, Tensor]:
    """A copy of a network's tensors."""
    return {name: tensor.detach().clone() for name, tensor in fit.bank.state(member).items()}


def assert_same_weights(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert list(found) == list(expected)
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.fixture(scope="session")
def train() -> Callable[..., list[EpochResult]]:
    return epochs_of


@pytest.fixture(scope="session")
def weights() -> Callable[..., dict[str, Tensor]]:
    return weights_of


@pytest.fixture(scope="session")
def same_weights() -> Callable[..., None]:
    return assert_same_weights


def _world(inputs: Tensor, kind: Kind) -> World:
    draw = torch.Generator().manual_seed(7)
    directions = torch.randn(inputs[0].numel(), CLASSES, generator=draw)
    flat = inputs.flatten(1).float()
    labels = ((flat - flat.mean(0)) @ directions).argmax(1)
    shape = tuple(inputs.shape[1:])
    networks = [build_model("mlp", shape, CLASSES, {"hidden": [16], "init_std": 0.6}, seed=90 + k) for k in range(2)]
    normalization = Normalization.of(Split(inputs[:TRAIN], labels[:TRAIN]), kind)
    return World(Split(inputs, labels), kind, Teacher(networks, [normalization] * 2, "arithmetic"))


@pytest.fixture(scope="session")
def world() -> World:
    """Rows of six numbers."""
    return _world(torch.randn(TRAIN + VAL, 6, generator=torch.Generator().manual_seed(1)), "table")


@pytest.fixture(scope="session")
def image_world() -> World:
    """Images of 28x28 pixels, the smallest that LeNet takes."""
    draw = torch.Generator().manual_seed(1)
    return _world(torch.randint(0, 256, (TRAIN + VAL, 1, 28, 28), dtype=torch.uint8, generator=draw), "image")
