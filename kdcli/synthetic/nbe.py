"""NBE: cases sampled from a naive Bayes mixture (Lowd and Domingos 2005; Bucila 2006, sec. 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kdcli.data.order import generator
from kdcli.errors import DataError
from kdcli.synthetic.attributes import to_inputs, to_rows
from kdcli.synthetic.columns import Columns
from kdcli.synthetic.mixture import Mixture, em_step, single

_FIT = 19
_SAMPLE = 20
_HELD_OUT = 0.1
_FIRST = 50
_WIDTH = 0.25
_LEAST_GAIN = 0.01
_PRUNE_EVERY = 5
_CHUNK = 16_384


def nbe(inputs: Tensor, nominal: Sequence[int], cases: int, *, seed: int) -> Tensor:
    """Fit a naive Bayes mixture to a training set, and sample it; see :func:`fit`.

    Continuous attributes are not clipped to the range of the training set; pixels are rounded and clamped.

    Args:
        inputs: The training set, float32 ``(N, D)`` or uint8 ``(N, C, H, W)``, on the CPU.
        nominal: The attributes that hold codes of categories; the others are continuous.
        cases: How many to draw. Fewer are the first of more.
        seed: Both the fit and the sample depend on it.

    Returns:
        The cases, in the shape and dtype of ``inputs``.

    Raises:
        DataError: There is one row only.
    """
    mixture = fit(to_rows(inputs), Columns.of(inputs, tuple(nominal)), seed)
    made = torch.empty((cases, *inputs.shape[1:]), dtype=inputs.dtype)
    for number, part in enumerate(made.split(_CHUNK)):
        part.copy_(to_inputs(mixture.sample(_CHUNK, generator(_SAMPLE, seed, number))[: len(part)], inputs))
    return made


def fit(rows: Tensor, columns: Columns, seed: int) -> Mixture:
    """Grow a mixture as table 1 of Lowd and Domingos has it.

    It starts with one component. In each round k more are added, each around a random training row, which then leaves
    the training rows; k is doubled from round to round. Expectation maximisation goes on while the likelihood of a
    held-out part grows, and the best mixture by that measure is kept; every five steps, and at the end of a round,
    components are pruned that hold less than one row. Rounds end when one adds nothing to the held-out likelihood. Two
    last steps use all rows.

    What is not from there: 50 components first; 10 % held out; a gain is one of at least 0.01 nats a row; a new
    component has a quarter of each attribute's variance, and half of its nominal shares are the whole table's.

    Args:
        rows: The training set, float64 ``(N, D)``.
        columns: Its attributes.
        seed: What the held-out part and the rows for new components are drawn by.

    Raises:
        DataError: There is one row only.
    """
    if len(rows) < 2:
        what = "NBE estimates a distribution, and the training part has one example"
        raise DataError(what, where="transfer", fix="raise transfer.fraction, or choose another transfer")
    order = torch.randperm(len(rows), generator=generator(_FIT, seed))
    held_out, train = rows[order].tensor_split([max(1, round(_HELD_OUT * len(rows)))])
    best = single(columns, train)
    reached, more = best.log_likelihood(held_out), min(_FIRST, len(train) // 4)
    while more > 0:
        grown, likelihood = _climb(_add(best, train[:more]), train[more:], held_out)
        gain = likelihood - reached
        if gain > 0:
            best, reached = grown, likelihood
        if gain < _LEAST_GAIN:
            break
        train, more = train[more:], min(2 * more, len(train[more:]) // 4)
    return em_step(em_step(best, rows), rows)


def _climb(mixture: Mixture, train: Tensor, held_out: Tensor) -> tuple[Mixture, float]:
    """Maximise the likelihood of ``train`` until that of ``held_out`` gains no more; the best mixture by the latter."""
    best, reached, gain, step = mixture, mixture.log_likelihood(held_out), float("inf"), 0
    while gain >= _LEAST_GAIN:
        mixture, step = em_step(mixture, train), step + 1
        likelihood = mixture.log_likelihood(held_out)
        gain = likelihood - reached
        if gain > 0:
            best, reached = mixture, likelihood
        if step % _PRUNE_EVERY == 0:
            mixture = _prune(mixture, len(train))
    best = _prune(best, len(train))
    return best, best.log_likelihood(held_out)


def _add(mixture: Mixture, examples: Tensor) -> Mixture:
    """Add a component around each example, of the weight of an average one."""
    columns = mixture.columns
    split = len(columns.continuous)
    statistics = columns.statistics(examples)
    total = len(mixture) + len(examples)
    return Mixture(
        columns,
        torch.cat([mixture.weights * len(mixture) / total, torch.full((len(examples),), 1 / total).double()]),
        torch.cat([mixture.means, statistics[:, :split]]),
        torch.cat([mixture.variances, columns.floor.clamp(min=_WIDTH).expand(len(examples), -1)]),
        torch.cat([mixture.shares, (statistics[:, 2 * split :] + columns.marginal) / 2]),
    )


def _prune(mixture: Mixture, num: int) -> Mixture:
    """Leave out components that hold less than one of ``num`` rows."""
    kept = mixture.weights >= min(1 / num, float(mixture.weights.max()))
    weights = mixture.weights[kept]
    return replace(
        mixture,
        weights=weights / weights.sum(),
        means=mixture.means[kept],
        variances=mixture.variances[kept],
        shares=mixture.shares[kept],
    )
