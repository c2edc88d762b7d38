"""How far a student's distributions are from a teacher's, with the gradient in closed form."""

from __future__ import annotations

from kdcli.losses.graded import Graded
from kdcli.losses.inputs import Inputs
from kdcli.losses.softmax import per_network


def graded_cross_entropy(inputs: Inputs) -> Graded:
    r""":func:`kdcli.losses.soft_cross_entropy`; the gradient is :math:`T (q^T - p^T)`."""
    return _graded(inputs, less_entropy=False)


def graded_kl(inputs: Inputs) -> Graded:
    r""":func:`kdcli.losses.soft_target_kl`; the gradient is :math:`T (q^T - p^T)`."""
    return _graded(inputs, less_entropy=True)


def _graded(inputs: Inputs, *, less_entropy: bool) -> Graded:
    temperature, column = inputs.temperature, per_network(inputs.temperature)
    log_q = (inputs.student / column).log_softmax(inputs.dim)
    log_p = (inputs.teacher / column).log_softmax(inputs.dim)
    p = log_p.exp()
    surprise = log_p - log_q if less_entropy else log_q.neg()
    difference = log_q.exp_().sub_(p)
    # p (log p - log q) - p + q: the last two cancel in the sum over classes, and the rounding of the normalisers with
    # them, which at high temperature is as large as the divergence itself.
    value = surprise.mul_(p).add_(difference).sum((-2, -1)).mul_(temperature).mul_(temperature)
    return Graded(value.div_(inputs.batch_size), difference.mul_(column))
