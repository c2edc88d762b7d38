"""The ``optimizer`` and ``lr_schedule`` groups."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kdcli.schema.base import Count, Interval, NonNegative, Positive, Probability, Rate, Section, Weight

Momentum = Annotated[float, Interval(0, 0.99999)]


class Sgd(Section):
    """Stochastic gradient descent, as torch.optim.SGD."""

    kind: Literal["sgd"]
    lr: Rate
    momentum: Momentum = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0


class MomentumRamp(Section):
    """Momentum that grows over the first epochs, with steps of ``(1 - momentum) * lr`` (Hinton et al. 2012, A.1)."""

    kind: Literal["momentum_ramp"]
    lr: Rate
    start: Momentum = 0.5
    end: Momentum = 0.99
    ramp_epochs: Count = 500


class AdamW(Section):
    """Adam with decoupled weight decay, as torch.optim.AdamW; without decay it is Adam."""

    kind: Literal["adamw"]
    lr: Rate
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0


Optimizer = Annotated[Sgd | MomentumRamp | AdamW, Field(discriminator="kind")]


class ConstantRate(Section):
    """The optimizer's rate throughout."""

    kind: Literal["constant"]


class ExponentialDecay(Section):
    """The rate is multiplied by ``gamma`` after every epoch."""

    kind: Literal["exponential"]
    gamma: Annotated[float, Interval(0, 1, low_open=True)]


class StepDecay(Section):
    """The rate is multiplied by ``gamma`` after every ``every`` epochs."""

    kind: Literal["step"]
    every: Count
    gamma: Annotated[float, Interval(0, 1, low_open=True)]


class Warmed(Section):
    """Up over the share ``warmup`` of the steps, then linearly or along a cosine down to ``end`` of the rate."""

    kind: Literal["linear", "cosine"]
    warmup: Probability = 0.0
    end: Weight = 0.0


class OneCycle(Section):
    """Up from ``start`` of the rate over the share ``warmup`` of the steps, down to ``end`` of it, along cosines."""

    kind: Literal["one_cycle"]
    warmup: Annotated[float, Interval(0.001, 0.999)] = 0.3
    start: Weight = 0.04
    end: Weight = 0.0


class Plateau(Section):
    """The rate is multiplied by ``factor`` when val/nll has not improved for ``patience`` epochs."""

    kind: Literal["plateau"]
    factor: Annotated[float, Interval(0.001, 0.999)] = 0.1
    patience: Annotated[int, Interval(0, 10_000)] = 10
    threshold: NonNegative = 1e-4
    min_factor: Weight = 0.0


LrSchedule = Annotated[
    ConstantRate | ExponentialDecay | StepDecay | Warmed | OneCycle | Plateau, Field(discriminator="kind")
]
