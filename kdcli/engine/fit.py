"""Training: a cohort of K networks over the same batches, as a generator of epochs.

Nothing in a step waits for the device: losses are summed there, and a mask of finite losses and gradients gates each
update, so that the host needs to read both only once an epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from kdcli.engine.bank import Bank
from kdcli.engine.exchange import make_exchange
from kdcli.engine.meters import HARD, SOFT, TOTAL, Meters
from kdcli.engine.precision import Precision
from kdcli.engine.predict import Validation
from kdcli.engine.results import Divergence, EpochResult, MemberResult, Stopped, Tick
from kdcli.engine.standing import Standing, as_plain, copied
from kdcli.engine.stream import Batch, Stream
from kdcli.engine.update import Rule, Updater
from kdcli.metrics import Measures
from kdcli.objective import Lesson, Material, Minimised
from kdcli.schedules import Constant, Plateau, PlateauState, RateSchedule, Schedule, plateau_step

TICK_SECONDS = 0.25


@dataclass(frozen=True)
class MemberPlan:
    """What may differ between the networks of a cohort, besides their weights."""

    rule: Rule
    lr: float
    rate: RateSchedule | Plateau
    temperature: Schedule
    alpha: Schedule

    @property
    def has_soft_term(self) -> bool:
        """Whether the network ever looks at a teacher."""
        return self.alpha != Constant(0.0)


@dataclass(frozen=True)
class FitState:
    """What ``Fit.state`` says, read back."""

    epoch: int
    step_in_epoch: int
    seconds: float
    train_seconds: float
    standings: Sequence[Standing]
    plateaus: Sequence[PlateauState]


@dataclass(frozen=True)
class FitPlan:
    """What the networks of a cohort share."""

    members: Sequence[MemberPlan]
    epochs: int
    early_stopping: int | None = None
    bf16: bool = False


class Fit:
    """The training of a cohort, at some point of its course.

    Args:
        bank: The networks.
        stream: What they see.
        objective: What they minimise.
        plan: How.
        validation: What selects their checkpoints, if there is a validation part.
    """

    def __init__(
        self, bank: Bank, stream: Stream, objective: Minimised, plan: FitPlan, validation: Validation | None
    ) -> None:
        self.bank, self.stream, self.objective, self.plan, self.validation = bank, stream, objective, plan, validation
        self.epoch = 0
        self.step_in_epoch = 0
        self.standings = [Standing() for _ in plan.members]
        self.best: list[dict[str, Tensor]] = [{} for _ in plan.members]
        self.last: list[dict[str, Tensor]] = [{} for _ in plan.members]
        own_rates = len({(m.lr, m.rate) for m in plan.members}) > 1 or isinstance(plan.members[0].rate, Plateau)
        self._updater = Updater(bank, [member.rule for member in plan.members], own_rates=own_rates)
        self._exchange = make_exchange(stream.ranks, bank, objective.soft_loss)
        self._plateaus = [PlateauState() for _ in plan.members]
        self._buffers: list[dict[str, Tensor]] = []  # as they were when the epoch began
        self.train_seconds = 0.0  # of the finished epochs' training
        self._seconds = 0.0  # of this epoch's training so far
        self._device = stream.labels.device
        self._precision = Precision.of(self._device, bf16=plan.bf16)
        self._steps_per_epoch = len(stream.batch_sizes)
        self._meters = Meters(self._steps_per_epoch, bank.size, self._device)
        self._num_steps = self._steps_per_epoch * plan.epochs

    @property
    def step(self) -> int:
        """Steps since the start of training."""
        return self.epoch * self._steps_per_epoch + self.step_in_epoch

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.epoch >= self.plan.epochs or not any(standing.active for standing in self.standings)

    def events(self, stop: Callable[[], bool] = lambda: False) -> Iterator[EpochResult | Tick]:
        """Train on from where this stands: a result after each epoch, and ticks in between.

        Args:
            stop: Asked after every step; when it says true the generator ends there, or a few steps later where other
                processes have to be told, and ``finished`` is False.
        """
        self.bank.train(True)
        while not self.finished:
            yield from self._train_epoch(stop)
            if self.step_in_epoch < self._steps_per_epoch:
                return
            yield self._finish_epoch()

    def _train_epoch(self, stop: Callable[[], bool]) -> Iterator[Tick]:
        self._buffers = [copied(self.bank.buffers(k)) for k in range(self.bank.size)]
        started = last_tick = time.perf_counter()
        before, first = self._seconds, self.step_in_epoch
        with closing(self._lessons(first)) as lessons:
            for batch, lesson in lessons:
                self._train_step(batch, lesson)
                self.step_in_epoch += 1
                now = time.perf_counter()
                self._seconds = before + now - started
                if now - last_tick > TICK_SECONDS:
                    last_tick = now
                    speed = (self.step_in_epoch - first) * self.stream.batch_size / (now - started)
                    yield Tick(self.epoch, self.step_in_epoch, self._steps_per_epoch, speed)
                if self._exchange.agree(stop()):
                    self._rewind([k for k, blocked in enumerate(self._meters.blocked.tolist()) if blocked])
                    return

    def _lessons(self, first: int) -> Generator[tuple[Batch, Lesson], None, None]:
        """The rest of an epoch, each batch with what is to be learnt from it."""
        temperatures, alphas = self._table("temperature"), self._table("alpha")
        with closing(self.stream.groups(self.epoch, first)) as groups:
            for group in groups:
                rows = slice(group.first, group.first + len(group.batches))
                own = [batch.labels.shape[-1] for batch in group.batches]
                lessons = self.objective.lessons(
                    Material(group.labels, group.teacher_logits, own, temperatures[rows], alphas[rows])
                )
                done = max(first - group.first, 0)
                for size, batch, lesson in list(zip(group.sizes, group.batches, lessons, strict=True))[done:]:
                    self.stream.ranks.begin(size)
                    yield batch, lesson

    def _train_step(self, batch: Batch, lesson: Lesson) -> None:
        with self._precision.whole():
            with self._precision.forward():
                logits = self.bank.logits(batch.inputs, own=batch.own)
            terms = self._exchange.backward(self.bank, logits, lesson(logits))
        self._meters.record(self.step_in_epoch, terms, self._updater.gradient_norms())
        epoch = self.epoch + self.step_in_epoch / self._steps_per_epoch
        self._updater.step(self._meters.blocked, rates=self._rates(self.step), epoch=epoch)
        self.bank.constrain()

    def _rates(self, step: int) -> list[float]:
        return [
            member.lr
            * (
                plateau.factor
                if isinstance(member.rate, Plateau)
                else member.rate.factor(step, self._steps_per_epoch, self._num_steps)
            )
            for member, plateau in zip(self.plan.members, self._plateaus, strict=True)
        ]

    def _table(self, name: str) -> Tensor:
        """A schedule's values for this epoch, shape ``(steps, K)``: one transfer an epoch instead of one a step."""
        first = self.epoch * self._steps_per_epoch
        columns = []
        for member in self.plan.members:
            schedule: Schedule = getattr(member, name)
            if isinstance(schedule, Constant):
                columns.append(torch.full((self._steps_per_epoch,), schedule.value(0, 1)))
            else:
                steps = range(first, first + self._steps_per_epoch)
                columns.append(torch.tensor([schedule.value(step, self._num_steps) for step in steps]))
        return torch.stack(columns, dim=1).to(self._device)

    def _finish_epoch(self) -> EpochResult:
        sizes = self.stream.batch_sizes
        self._exchange.check_alike(self.bank)
        means = self._meters.means(sizes)
        measured = [None] * self.bank.size if self.validation is None else self.validation.measure(self.bank)
        members = tuple(self._finish_member(k, means[k], measured[k]) for k in range(self.bank.size))
        speed = sum(sizes) / max(self._seconds, 1e-9)
        result = EpochResult(self.epoch, self.step, members, self._seconds, speed)
        self.train_seconds += self._seconds
        self.epoch, self.step_in_epoch, self._seconds = self.epoch + 1, 0, 0.0
        self._meters.reset([not standing.active for standing in self.standings])
        return result

    def _finish_member(self, k: int, means: list[float], val: Measures | None) -> MemberResult | Stopped:
        if self.standings[k].active:
            self.standings[k] = self._judge(k, means, val)
        standing = self.standings[k]
        if standing.divergence is not None or (not standing.active and standing.stopped_epoch != self.epoch):
            return Stopped(standing.divergence)
        is_best = standing.best_epoch == self.epoch
        if is_best:
            self.best[k] = copied(self.bank.state(k))
        if not standing.active:
            self.last[k] = copied(self.bank.state(k))
        rate = self.plan.members[k].rate
        temperature, alpha = self._values(k, self.step - 1)
        result = MemberResult(temperature, alpha, self._rates(self.step - 1)[k], *self._shown(k, means), val, is_best)
        if isinstance(rate, Plateau) and val is not None:
            self._plateaus[k] = plateau_step(rate, self._plateaus[k], val.nll)
        return result

    def _judge(self, k: int, means: list[float], val: Measures | None) -> Standing:
        bad = self._meters.first_bad(k)
        if bad is None and (val is not None or self.validation is None):
            return self.standings[k].after(self.epoch, self.step, val, self.plan.early_stopping)
        row, terms = bad if bad is not None else (self._steps_per_epoch - 1, means)
        step = self.epoch * self._steps_per_epoch + row
        temperature, alpha = self._values(k, step)
        self._rewind([k])
        divergence = Divergence(self.epoch, step, self._rates(step)[k], temperature, alpha, *self._shown(k, terms))
        return self.standings[k].diverged(divergence)

    def _rewind(self, diverged: Sequence[int]) -> None:
        """Take back what forward passes that were not finite left in networks' buffers: no mask gates those."""
        for k in diverged:
            if self.standings[k].active:
                for name, tensor in self.bank.buffers(k).items():
                    tensor.copy_(self._buffers[k][name])

    def _values(self, k: int, step: int) -> tuple[float | None, float | None]:
        member = self.plan.members[k]
        if not member.has_soft_term:
            return None, None
        return member.temperature.value(step, self._num_steps), member.alpha.value(step, self._num_steps)

    def _shown(self, k: int, terms: list[float]) -> tuple[float, float | None, float | None]:
        total, hard, soft = terms[TOTAL], terms[HARD], terms[SOFT]
        span = self.objective.spans[k]
        return total, hard if span.low < 1 else None, soft if span.high > 0 else None

    def last_weights(self, member: int) -> Mapping[str, Tensor]:
        """A network's weights as they are, or as they were when it stopped early."""
        return self.last[member] or self.bank.state(member)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything a later process needs to go on, as tensors: the networks (``model``), and the rest (``state``)."""
        model = {
            f"{self._prefix(k)}{name}": tensor
            for k in range(self.bank.size)
            for name, tensor in self.bank.state(k).items()
        }
        state = {f"update/{name}": tensor for name, tensor in self._updater.state().items()}
        state |= {f"noise/{k:03d}": generator.get_state() for k, generator in enumerate(self.bank.generators)}
        state |= {"log": self._meters.log, "blocked": self._meters.blocked}
        for name, kept in (("best", self.best), ("last", self.last)):
            state |= {f"{name}/{k:03d}/{key}": tensor for k, one in enumerate(kept) for key, tensor in one.items()}
        return {"model": model, "state": state}

    def state(self) -> dict[str, object]:
        """Everything a later process needs to go on, besides the tensors, as plain data."""
        return {
            "epoch": self.epoch,
            "step_in_epoch": self.step_in_epoch,
            "seconds": self._seconds,
            "train_seconds": self.train_seconds,
            "standings": [as_plain(standing) for standing in self.standings],
            "plateaus": [asdict(plateau) for plateau in self._plateaus],
        }

    def _prefix(self, member: int) -> str:
        """Names of a network's weights begin with its number; those of one alone are its own, as in any state_dict."""
        return f"{member:03d}/" if self.bank.size > 1 else ""

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]], state: FitState) -> None:
        """Go on where ``tensors()`` and ``state()`` were taken."""
        model, rest = tensors["model"], tensors["state"]
        for k, generator in enumerate(self.bank.generators):
            self.bank.load(k, _below(self._prefix(k), model))
            self.best[k], self.last[k] = _below(f"best/{k:03d}/", rest), _below(f"last/{k:03d}/", rest)
            generator.set_state(rest[f"noise/{k:03d}"])
        self._updater.load(_below("update/", rest))
        self._meters.log.copy_(rest["log"])
        self._meters.blocked.copy_(rest["blocked"])
        self.epoch, self.step_in_epoch, self._seconds = state.epoch, state.step_in_epoch, state.seconds
        self.train_seconds = state.train_seconds
        self.standings, self._plateaus = list(state.standings), list(state.plateaus)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
