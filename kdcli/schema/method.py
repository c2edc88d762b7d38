"""The ``loss``, ``temperature`` and ``alpha`` groups."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field

from kdcli.schema.base import Section, Temperature, Weight

Value = TypeVar("Value")


class Loss(Section):
    """The soft term (``hard``: none) and the label smoothing of the hard term."""

    kind: Literal["hard", "kd", "soft_ce", "mse_logits", "mse_probs", "cwtm", "dkpp", "mutual"]
    label_smoothing: Weight = 0.0


class OwnLoss(Section):
    """The user's own soft term: ``target`` is ``package.module:function``, called with ``arguments``."""

    kind: Literal["custom"]
    target: str
    arguments: dict[str, Any] = {}
    label_smoothing: Weight = 0.0


AnyLoss = Annotated[Loss | OwnLoss, Field(discriminator="kind")]


def loss_label(loss: AnyLoss) -> str:
    """Name a loss in results."""
    return loss.target if isinstance(loss, OwnLoss) else loss.kind


class Constant(Section, Generic[Value]):
    """The same value at every step."""

    kind: Literal["constant"]
    value: Value


class Between(Section, Generic[Value]):
    """From ``start`` at the first step to ``end`` at the last: in equal steps, or along half a cosine."""

    kind: Literal["linear", "cosine"]
    start: Value
    end: Value


class Geometric(Section, Generic[Value]):
    """From ``start`` at the first step to ``end`` at the last by a constant ratio, so neither may be 0."""

    kind: Literal["exponential"]
    start: Value
    end: Value


class Switch(Section, Generic[Value]):
    """``start`` before the fraction ``at`` of the steps, ``end`` from there on."""

    kind: Literal["step"]
    start: Value
    end: Value
    at: Weight


TemperatureSchedule = Annotated[
    Constant[Temperature] | Between[Temperature] | Geometric[Temperature] | Switch[Temperature],
    Field(discriminator="kind"),
]
AlphaSchedule = Annotated[Constant[Weight] | Between[Weight] | Switch[Weight], Field(discriminator="kind")]
