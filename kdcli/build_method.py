"""From a configuration to how networks learn: schedules, update rules and what they minimise."""

from __future__ import annotations

from collections.abc import Sequence

from kdcli.engine.fit import MemberPlan
from kdcli.engine.update import AdamWRule, MomentumRampRule, Rule, SgdRule
from kdcli.losses.own import WHERE, OwnLoss
from kdcli.models.custom import load_factory
from kdcli.objective import Objective, Span
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
    RateSchedule,
    Schedule,
    Step,
    StepDecay,
)
from kdcli.schema import DistillStudent, Training, method, optimization


def build_schedule(section: method.TemperatureSchedule | method.AlphaSchedule) -> Schedule:
    """A temperature or alpha at every step."""
    if isinstance(section, method.Constant):
        return Constant(section.value)
    if isinstance(section, method.Switch):
        return Step(section.start, section.end, section.at)
    if isinstance(section, method.Geometric):
        return Exponential(section.start, section.end)
    return (Linear if section.kind == "linear" else Cosine)(section.start, section.end)


def build_rate(section: optimization.LrSchedule) -> RateSchedule | Plateau:
    """The learning rate's factor at every step."""
    match section:
        case optimization.ConstantRate():
            return ConstantRate()
        case optimization.ExponentialDecay(gamma=gamma):
            return ExponentialDecay(gamma)
        case optimization.StepDecay(every=every, gamma=gamma):
            return StepDecay(every, gamma)
        case optimization.Warmed(kind="linear", warmup=warmup, end=end):
            return LinearDecay(warmup, end)
        case optimization.Warmed(warmup=warmup, end=end):
            return CosineDecay(warmup, end)
        case optimization.OneCycle(warmup=warmup, start=start, end=end):
            return OneCycle(warmup, start, end)
    return Plateau(section.factor, section.patience, section.threshold, section.min_factor)


def build_rule(section: optimization.Optimizer) -> Rule:
    """The optimizer's update rule."""
    match section:
        case optimization.Sgd():
            return SgdRule(section.momentum, section.nesterov, section.weight_decay)
        case optimization.MomentumRamp():
            return MomentumRampRule(section.start, section.end, section.ramp_epochs)
    return AdamWRule(section.beta1, section.beta2, section.eps, section.weight_decay)


def member_plan(config: Training) -> MemberPlan:
    """What is a network's own within its cohort; without a soft term its alpha is 0 throughout."""
    hard = config.loss.kind == "hard"
    return MemberPlan(
        rule=build_rule(config.optimizer),
        lr=config.optimizer.lr,
        rate=build_rate(config.lr_schedule),
        temperature=Constant(1.0) if hard else build_schedule(config.temperature),
        alpha=Constant(0.0) if hard else build_schedule(config.alpha),
    )


def span_of(schedule: Schedule) -> Span:
    """The least and the greatest value of a schedule."""
    if isinstance(schedule, Constant):
        return Span(schedule.constant, schedule.constant)
    assert isinstance(schedule, Linear | Cosine | Step)
    return Span(min(schedule.start, schedule.end), max(schedule.start, schedule.end))


def build_objective(configs: Sequence[Training], plans: Sequence[MemberPlan]) -> Objective:
    """One objective for a cohort; its networks agree on the loss, those without a soft term apart."""
    soft = [config for config in configs if config.loss.kind != "hard"]
    return Objective(
        spans=tuple(span_of(plan.alpha) for plan in plans),
        soft_loss=build_soft_loss(soft[0].loss) if soft else None,
        ensemble=soft[0].ensemble if soft and isinstance(soft[0], DistillStudent) else "arithmetic",
        label_smoothing=tuple(config.loss.label_smoothing for config in configs),
    )


def build_soft_loss(section: method.AnyLoss) -> str | OwnLoss:
    """The soft term: the name of one of kd's own, or the function that the user names."""
    if isinstance(section, method.OwnLoss):
        return OwnLoss(section.target, load_factory(section.target, WHERE), section.arguments)
    return section.kind


def check_own_loss(config: Training, classes: int) -> None:
    """Try the soft term of a configuration once, where it is the user's own.

    Raises:
        UsageError: There is no such function, or it is no loss.
    """
    own = build_soft_loss(config.loss)
    if isinstance(own, OwnLoss):
        own.try_out(classes)
