"""Optimizers as rules over a cohort's parameters: torch's fused kernels, gated on the device, a rate for each network.

A network whose loss or gradient was not finite is blocked: its update is left out without the host ever waiting
to learn of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from kdcli.engine.bank import Bank, Parameters
from kdcli.schedules import momentum_ramp

Slots = dict[str, list[Tensor]]

# torch's kernel leaves the velocity out of a step with a momentum of exactly 0, and takes the whole rate then.
LEAST_MOMENTUM = 1e-30


class Rule(Protocol):
    """How parameters change from their gradients. Two members with equal rules can share one call."""

    def slots(self, tensors: Sequence[Tensor]) -> Slots:
        """The optimizer's state for these tensors, before the first step."""

    def apply(
        self, tensors: list[Tensor], grads: list[Tensor], slots: Slots, *, lr: float, epoch: float, blocked: Tensor
    ) -> None:
        """Update ``tensors`` and ``slots`` in place, unless the scalar ``blocked`` is 1."""


@dataclass(frozen=True)
class SgdRule:
    """torch.optim.SGD."""

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def slots(self, tensors: Sequence[Tensor]) -> Slots:
        """See Rule."""
        return {"momentum": [torch.zeros_like(tensor) for tensor in tensors]}

    def apply(
        self, tensors: list[Tensor], grads: list[Tensor], slots: Slots, *, lr: float, epoch: float, blocked: Tensor
    ) -> None:
        """See Rule."""
        buffers = cast(list[Tensor | None], slots["momentum"])
        sgd(
            tensors, grads, buffers, fused=True, foreach=False, grad_scale=None, found_inf=blocked,
            weight_decay=self.weight_decay, momentum=self.momentum, lr=lr, dampening=0.0,
            nesterov=self.nesterov, maximize=False,
        )  # fmt: skip


@dataclass(frozen=True)
class MomentumRampRule:
    """Velocity ``v = m v - (1 - m) lr g``, ``w = w + v``, with m growing over epochs (Hinton et al. 2012, A.1)."""

    start: float
    end: float
    ramp_epochs: int

    def slots(self, tensors: Sequence[Tensor]) -> Slots:
        """See Rule."""
        return {"velocity": [torch.zeros_like(tensor) for tensor in tensors]}

    def apply(
        self, tensors: list[Tensor], grads: list[Tensor], slots: Slots, *, lr: float, epoch: float, blocked: Tensor
    ) -> None:
        """See Rule."""
        momentum = max(momentum_ramp(epoch, self.start, self.end, self.ramp_epochs), LEAST_MOMENTUM)
        velocities = cast(list[Tensor | None], slots["velocity"])
        # torch's buffer is b = m b + (1 - dampening) g with w = w - rate b: at rate 1 it is minus the velocity,
        # and unlike torch's own use of lr it lets the rate change without rescaling the past.
        sgd(
            tensors, grads, velocities, fused=True, foreach=False, grad_scale=None, found_inf=blocked,
            weight_decay=0.0, momentum=momentum, lr=1.0, dampening=1.0 - (1.0 - momentum) * lr,
            nesterov=False, maximize=False,
        )  # fmt: skip


@dataclass(frozen=True)
class AdamWRule:
    """torch.optim.AdamW; with no decay, torch.optim.Adam."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def slots(self, tensors: Sequence[Tensor]) -> Slots:
        """See Rule."""
        return {
            "mean": [torch.zeros_like(tensor) for tensor in tensors],
            "square": [torch.zeros_like(tensor) for tensor in tensors],
            "step": [torch.zeros((), device=tensors[0].device)],
        }

    def apply(
        self, tensors: list[Tensor], grads: list[Tensor], slots: Slots, *, lr: float, epoch: float, blocked: Tensor
    ) -> None:
        """See Rule."""
        # The kernel that torch.optim calls, without its sorting of tensors, which took as long as a small step.
        (step,) = slots["step"]
        step += 1 - blocked
        torch._fused_adamw_(
            tensors, grads, slots["mean"], slots["square"], [], [step] * len(tensors), lr=lr, beta1=self.beta1,
            beta2=self.beta2, weight_decay=self.weight_decay, eps=self.eps, amsgrad=False, maximize=False,
            grad_scale=None, found_inf=blocked,
        )  # fmt: skip


class _Call:
    """What one call of a rule updates: a whole bank entry, or one network's share of a stacked one."""

    def __init__(self, rule: Rule, parameters: Parameters, position: int | None) -> None:
        self.rule = rule
        self.position = position
        self.members = parameters.members if position is None else (parameters.members[position],)
        whole = parameters.tensors if parameters.whole is None else (parameters.whole,)
        self._leaves = whole if position is None else parameters.tensors
        shares = whole if position is None else parameters.share(position)
        self.tensors = [tensor.detach() for tensor in shares]
        self.slots = rule.slots(self.tensors)
        self._own = parameters.tensors

    def drop(self, blocked: Tensor) -> None:
        """Leave the gradients of blocked networks of a stack out."""
        drop_blocked(gradients(self._own), blocked)

    def grads(self) -> list[Tensor]:
        grads = gradients(self._leaves)
        return grads if self.position is None else [grad[self.position] for grad in grads]


def gradients(leaves: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of parameters; zeros for one that took no part in the loss, as a network of the user's may have."""
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]


def _norm(grad: Tensor) -> Tensor:
    """In half the time of torch.linalg.vector_norm."""
    flat = grad.flatten()
    return torch.dot(flat, flat).sqrt()


def can_ask(tensor: Tensor) -> bool:
    """Whether to look at a tensor's values waits for nothing: it is on a CPU."""
    return tensor.is_cpu


def drop_blocked(grads: Sequence[Tensor], blocked: Tensor) -> None:
    """Set the gradients of blocked networks of a stack, along the first dimension, to zero."""
    if can_ask(blocked) and not blocked.any():
        return
    for grad in grads:
        grad.masked_fill_((blocked > 0).view(-1, *[1] * (grad.dim() - 1)), 0.0)


class Updater:
    """Applies each network's rule to its parameters, in as few calls as their rules and rates allow.

    Args:
        bank: The networks.
        rules: One rule for each network.
        own_rates: Whether the networks' learning rates may differ at any step.
    """

    def __init__(self, bank: Bank, rules: Sequence[Rule], *, own_rates: bool) -> None:
        self._parameters = bank.parameters()
        together = not own_rates and all(rule == rules[0] for rule in rules)
        self._calls: list[_Call] = []
        for parameters in self._parameters:
            whole = together or len(parameters.members) == 1
            for position in [None] if whole else range(len(parameters.members)):
                self._calls.append(_Call(rules[parameters.members[position or 0]], parameters, position))

    def gradient_norms(self) -> Tensor:
        """A norm of each network's gradient, shape ``(K,)``; not finite exactly where the gradient is not.

        Of networks in one buffer, where nothing waits for an answer, it is the norm of all unless that is not finite.
        """
        norms = []
        for parameters in self._parameters:
            grads = gradients(parameters.tensors)
            if parameters.whole is not None and can_ask(parameters.whole):
                together = _norm(gradients([parameters.whole])[0])
                if math.isfinite(together):
                    norms.append(together.expand(len(parameters.members)))
                    continue
            if len(parameters.members) > 1:
                each = [torch.linalg.vector_norm(grad.flatten(1), dim=1) for grad in grads]
                norms.append(torch.stack(each).sum(0))
            else:
                norms.append(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))).view(1))
        return norms[0] if len(norms) == 1 else torch.cat(norms)

    def step(self, blocked: Tensor, *, rates: Sequence[float], epoch: float) -> None:
        """Update every network but those that are blocked, and drop all gradients.

        A blocked network that shares a call with others gets a gradient of zero: nothing that is not finite reaches
        it, though its momentum may still carry it, so what counts of it is its last checkpoint.

        Args:
            blocked: Shape ``(K,)``, 1.0 where a network must not change, else 0.0.
            rates: Learning rate of each network.
            epoch: Epochs since the start, with the fraction of the current one.
        """
        for call in self._calls:
            grads = call.grads()
            if len(call.members) > 1:
                gate = torch.zeros_like(blocked[0])
                call.drop(blocked)
            else:
                gate = blocked[call.members[0]]
            call.rule.apply(call.tensors, grads, call.slots, lr=rates[call.members[0]], epoch=epoch, blocked=gate)
        for parameters in self._parameters:
            for leaf in (*parameters.tensors, parameters.whole):
                if leaf is not None:
                    leaf.grad = None

    def state(self) -> dict[str, Tensor]:
        """All slots under names that depend on nothing but the order of calls, slots and parameters."""
        return dict(self._named())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy the slots back, in place."""
        for name, tensor in self._named():
            tensor.copy_(state[name])

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        for number, call in enumerate(self._calls):
            for slot, tensors in call.slots.items():
                for index, tensor in enumerate(tensors):
                    yield f"{number:03d}.{slot}.{index:03d}", tensor
