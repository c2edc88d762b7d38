"""Schedules of temperature, alpha, learning rate and momentum, against their definitions and torch's schedulers."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterable

import pytest
import torch
from torch.optim import lr_scheduler

from kdcli.schedules import (
    Constant,
    ConstantRate,
    Cosine,
    CosineDecay,
    Exponential,
    ExponentialDecay,
    Linear,
    LinearDecay,
    OneCycle,
    Plateau,
    PlateauState,
    RateSchedule,
    Schedule,
    Step,
    StepDecay,
    momentum_ramp,
    plateau_step,
)

MOVING: list[Linear | Cosine | Exponential | Step] = [
    Linear(8.0, 0.1),
    Cosine(8.0, 0.1),
    Exponential(8.0, 0.1),
    Step(8.0, 0.1, at=0.5),
    Linear(0.0, 1.0),
]


def values(schedule: Schedule, num_steps: int) -> list[float]:
    return [schedule.value(step, num_steps) for step in range(num_steps)]


def factors(schedule: RateSchedule, num_steps: int, steps_per_epoch: int = 1) -> list[float]:
    return [schedule.factor(step, steps_per_epoch, num_steps) for step in range(num_steps)]


def test_importing_schedules_does_not_import_torch() -> None:
    code = "import sys, kdcli.schedules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("schedule", MOVING)
@pytest.mark.parametrize("num_steps", [2, 3, 49, 1000])
def test_the_first_value_is_at_the_first_step_and_the_last_at_the_last(
    schedule: Linear | Cosine | Exponential | Step, num_steps: int
) -> None:
    got = values(schedule, num_steps)
    assert got[0] == schedule.start
    assert got[-1] == schedule.end


@pytest.mark.parametrize("schedule", MOVING)
def test_a_single_step_has_the_first_value(schedule: Linear | Cosine | Exponential | Step) -> None:
    assert schedule.value(0, 1) == schedule.start


@pytest.mark.parametrize("schedule", MOVING)
def test_values_move_one_way_and_stay_between_the_ends(schedule: Linear | Cosine | Exponential | Step) -> None:
    got = values(schedule, 1000)
    assert got == sorted(got, reverse=schedule.start > schedule.end)
    assert min(got) == min(schedule.start, schedule.end)
    assert max(got) == max(schedule.start, schedule.end)


def test_a_constant_stays() -> None:
    assert values(Constant(3.3), 4) == [3.3] * 4


def test_linear_moves_in_equal_steps() -> None:
    assert values(Linear(8.0, 0.0), 5) == [8.0, 6.0, 4.0, 2.0, 0.0]


def test_cosine_is_half_a_cosine() -> None:
    assert values(Cosine(8.0, 2.0), 7) == pytest.approx([5 + 3 * math.cos(math.pi * step / 6) for step in range(7)])


def test_exponential_has_a_constant_ratio() -> None:
    assert values(Exponential(16.0, 1.0), 5) == pytest.approx([16, 8, 4, 2, 1])


@pytest.mark.parametrize(("at", "num_first"), [(0.0, 0), (0.07, 7), (0.5, 50), (0.505, 51), (1.0, 100)])
def test_step_switches_at_a_fraction_of_the_steps(at: float, num_first: int) -> None:
    assert values(Step(1.0, 0.0, at), 100) == [1.0] * num_first + [0.0] * (100 - num_first)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 2.0), (math.nan, 1.0)])
def test_an_exponential_between_ends_that_no_ratio_connects_is_refused(start: float, end: float) -> None:
    with pytest.raises(ValueError, match=f"start and end must be > 0, got {start} and {end}"):
        Exponential(start, end)


@pytest.mark.parametrize("at", [-0.1, 1.1, math.nan])
def test_a_switch_outside_of_the_training_is_refused(at: float) -> None:
    with pytest.raises(ValueError, match=rf"at must be in \[0, 1\], got {at}"):
        Step(1.0, 0.0, at)


@pytest.mark.parametrize(("step", "num_steps"), [(-1, 10), (10, 10), (0, 0)])
def test_a_step_outside_of_the_training_is_refused(step: int, num_steps: int) -> None:
    for schedule in MOVING:
        with pytest.raises(ValueError, match=f"got {step} of {num_steps}"):
            schedule.value(step, num_steps)
    for rate in (ExponentialDecay(0.9), StepDecay(1, 0.1), LinearDecay(), CosineDecay(), OneCycle()):
        with pytest.raises(ValueError, match=f"got {step} of {num_steps}"):
            rate.factor(step, 1, num_steps)


def torch_rates(make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], count: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = [float(scheduler.get_last_lr()[0])]
    for _ in range(count - 1):
        optimizer.step()
        scheduler.step()
        rates.append(float(scheduler.get_last_lr()[0]))
    return rates


def each_repeated(rates: Iterable[float], times: int) -> list[float]:
    return [rate for rate in rates for _ in range(times)]


def test_a_constant_rate_is_the_optimizers() -> None:
    assert factors(ConstantRate(), 5) == [1.0] * 5


def test_exponential_decay_is_torchs_once_an_epoch() -> None:
    expected = torch_rates(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.9), 7)
    assert factors(ExponentialDecay(0.9), 21, steps_per_epoch=3) == pytest.approx(each_repeated(expected, 3))


def test_step_decay_is_torchs_once_an_epoch() -> None:
    expected = torch_rates(lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.3), 11)
    got = factors(StepDecay(every=4, gamma=0.3), 22, steps_per_epoch=2)
    assert got == pytest.approx(each_repeated(expected, 2))


@pytest.mark.parametrize("end", [0.0, 0.1])
def test_cosine_decay_without_warmup_is_torchs(end: float) -> None:
    expected = torch_rates(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=end), 50)
    assert factors(CosineDecay(end=end), 50) == pytest.approx(expected)


@pytest.mark.parametrize("end", [0.0, 0.1])
def test_linear_decay_without_warmup_is_torchs(end: float) -> None:
    expected = torch_rates(
        lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=end, total_iters=50), 50
    )
    assert factors(LinearDecay(end=end), 50) == pytest.approx(expected)


@pytest.mark.parametrize("num_steps", [20, 33, 101])
@pytest.mark.parametrize("warmup", [0.25, 0.3, 0.9])
def test_one_cycle_is_torchs(num_steps: int, warmup: float) -> None:
    expected = torch_rates(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=num_steps,
            pct_start=warmup,
            div_factor=1 / 0.04,
            final_div_factor=0.04 / 0.001,
            cycle_momentum=False,
        ),
        num_steps,
    )
    got = factors(OneCycle(warmup=warmup, start=0.04, end=0.001), num_steps)
    assert got == pytest.approx(expected)


def test_one_cycle_without_warmup_is_half_a_cosine_down() -> None:
    expected = [0.5 + 0.5 * math.cos(math.pi * step / 19) for step in range(20)]
    assert factors(OneCycle(warmup=0.0), 20) == pytest.approx(expected)


@pytest.mark.parametrize("num_steps", [1, 2])
def test_one_cycle_of_few_steps_starts_at_its_peak(num_steps: int) -> None:
    assert factors(OneCycle(), num_steps) == [1.0, 0.0][:num_steps]


@pytest.mark.parametrize("schedule", [LinearDecay(warmup=0.2), CosineDecay(warmup=0.2)])
def test_warmup_rises_linearly_to_the_rate_and_the_decay_starts_there(schedule: RateSchedule) -> None:
    got = factors(schedule, 20)
    assert got[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert got[4:] == sorted(got[4:], reverse=True)
    assert 0 < got[-1] < 0.1


def test_linear_decay_after_warmup_falls_in_equal_steps() -> None:
    assert factors(LinearDecay(warmup=0.2, end=0.2), 10)[2:] == pytest.approx([1 - 0.1 * k for k in range(8)])


def test_cosine_decay_after_warmup_is_halfway_in_the_middle() -> None:
    assert CosineDecay(warmup=0.2, end=0.1).factor(12, 1, 20) == pytest.approx(0.55)


def test_warmup_may_take_nearly_all_steps() -> None:
    assert factors(CosineDecay(warmup=0.99), 3) == pytest.approx([0.25, 0.5, 0.75])


@pytest.mark.parametrize("schedule", [LinearDecay, CosineDecay, OneCycle])
@pytest.mark.parametrize("warmup", [-0.1, 1.0, math.nan])
def test_warmup_that_leaves_no_training_is_refused(schedule: Callable[..., object], warmup: float) -> None:
    with pytest.raises(ValueError, match=rf"warmup must be in \[0, 1\), got {warmup}"):
        schedule(warmup=warmup)


LOSSES = {
    "falling": [1 / (1 + epoch) for epoch in range(30)],
    "flat": [1.0] * 30,
    "noisy": [abs(math.sin(12.9898 * epoch)) + 1 / (1 + epoch) for epoch in range(60)],
    "creeping": [1 - 0.002 * epoch for epoch in range(60)],
    "not a number": [2.0, 1.0, *[math.nan] * 10, 0.5, *[0.6] * 10],
    "not a number first": [*[math.nan] * 10, 0.5, *[0.6] * 10],
}


@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize(
    "config",
    [Plateau(), Plateau(factor=0.5, patience=0), Plateau(factor=0.3, patience=3, threshold=0.01, min_factor=0.05)],
)
def test_plateau_is_torchs(config: Plateau, losses: list[float]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="min",
        factor=config.factor,
        patience=config.patience,
        threshold=config.threshold,
        min_lr=config.min_factor,
        eps=0,
    )
    state, got, expected = PlateauState(), [], []
    for loss in losses:
        scheduler.step(loss)
        state = plateau_step(config, state, loss)
        expected.append(optimizer.param_groups[0]["lr"])
        got.append(state.factor)
    assert got == pytest.approx(expected, rel=1e-12)


def test_plateau_waits_as_long_as_its_patience() -> None:
    config, state, got = Plateau(factor=0.5, patience=2), PlateauState(), []
    for loss in (1.0, 1.0, 1.0, 1.0, 1.0):
        state = plateau_step(config, state, loss)
        got.append(state.factor)
    assert got == [1.0, 1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(("epoch", "momentum"), [(0, 0.5), (125, 0.6225), (250.5, 0.74549), (500, 0.99), (3000, 0.99)])
def test_momentum_ramps_up_over_the_first_500_epochs(epoch: float, momentum: float) -> None:
    assert momentum_ramp(epoch, 0.5, 0.99, 500) == pytest.approx(momentum, abs=1e-12)


def test_a_ramp_of_no_length_is_at_its_end() -> None:
    assert momentum_ramp(0, 0.5, 0.99, 0) == 0.99
