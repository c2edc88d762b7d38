"""MUNGE: cases made by exchanging attributes between nearest neighbours (Bucila 2006, sec. 2.3, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from kdcli.data.order import generator
from kdcli.errors import DataError
from kdcli.synthetic.attributes import nominal_mask, spread_of, to_inputs, to_rows
from kdcli.synthetic.changing import BLOCK, ChangingTables
from kdcli.synthetic.distance import MixedDistance

_MUNGE = 16
_REST = 17
_MEMORY = 1 << 28  # bytes for the passes that are made side by side


def munge(inputs: Tensor, nominal: Sequence[int], cases: int, *, p: float, s: float, seed: int) -> Tensor:
    """Make unlabelled cases out of a training set by the paper's algorithm 1.

    Every pass starts from a copy T' of the training set and goes through its N rows in order. For a row e, e' is the
    closest other row of T' *as it is by then*, with all that the steps before changed. For every attribute, with
    probability ``p``: a nominal one is swapped between e and e'; a continuous one is drawn anew for both,
    ``e ~ N(e', sd)`` and ``e' ~ N(e, sd)`` with ``sd = |e - e'| / s``. What T' is at the end is N cases.

    This is the literal algorithm, not an approximation: steps of a pass depend on each other and are done in sequence.
    What is done at once is a step of many passes, which are independent of each other, and the search of a row's
    neighbour, which has the answer of an exhaustive search in float64 (see ``ChangingTables``).

    What the paper leaves open, and what is done here:

    - ``p`` and ``s`` are never given. A larger ``s`` means less noise; with ``s = inf`` values are only swapped.
    - ``e' ~ N(e, sd)`` takes the value that e had before the step, as the paper's "swapping values" has it.
    - Euclidean distance of continuous and Hamming distance of nominal attributes are joined by adding squares: a
      mismatch is as far as the whole range of a continuous attribute. Ranges are those of the training set.
    - Of equally close rows the first is taken. An equal row is the closest one, and there is nothing to exchange.
    - Nothing is clipped: a value may leave the range of its column, and a column of whole numbers gets fractions. Only
      pixels, which are continuous attributes on one common scale, are rounded and clamped to 0 ... 255 after a pass.
    - Where ``cases`` is no multiple of N, the last pass gives a random part of its cases, in their order.

    Args:
        inputs: The training set, float32 ``(N, D)`` or uint8 ``(N, C, H, W)``, on the CPU.
        nominal: The attributes that hold codes of categories; the others are continuous.
        cases: How many to make. The paper's k passes are ``k * N``; fewer passes make the first of those.
        p: Probability of an exchange, in [0, 1]; 0 returns the training set, k times over.
        s: Local variance parameter, greater than 0.
        seed: What is drawn depends on this, the pass and the size of the training set.

    Returns:
        The cases, in the shape and dtype of ``inputs``.

    Raises:
        DataError: There is one row only, which has no neighbour; or ``s`` is so small that values overflow.
    """
    _check(inputs, cases, p, s)
    spread = spread_of(inputs)
    rows = to_rows(inputs)
    distance = MixedDistance.of(rows, spread, nominal_mask(tuple(nominal), rows.shape[1]))
    made = torch.empty((cases, *inputs.shape[1:]), dtype=inputs.dtype)
    for first, changed in _passes(rows, distance, -(-cases // len(rows)), p, s, seed):
        for number, table in enumerate(changed, first):
            part = made[number * len(rows) : (number + 1) * len(rows)]
            part.copy_(to_inputs(table[_some(len(rows), len(part), seed, number)], inputs))
    return made


def draws(seed: int, number: int, shape: tuple[int, int], p: float) -> tuple[Tensor, Tensor]:
    """All that pass ``number`` draws for a table of ``shape`` (N, D).

    Returns:
        Which attributes are exchanged when each row is visited, bool ``(N, D)``; and standard normal numbers for that
        row and for its neighbour, float32 ``(2, N, D)``.
    """
    source = generator(_MUNGE, seed, number)
    return torch.rand(shape, generator=source) < p, torch.randn((2, *shape), generator=source)


def exchange(pair: Tensor, chosen: Tensor, noise: Tensor, nominal: Tensor, s: float) -> Tensor:
    """One step: the two rows after the attributes that were chosen are exchanged between them.

    Args:
        pair: A row and its neighbour, float64 ``(B, 2, D)``.
        chosen: Which attributes are exchanged, bool ``(B, D)``.
        noise: Standard normal numbers, ``(B, 2, D)``.
        nominal: Which attributes are nominal, bool ``(D,)``.
        s: Local variance parameter.
    """
    deviation = (pair[:, :1] - pair[:, 1:]).abs() / s
    deviation = deviation.masked_fill(nominal, 0.0)
    return torch.where(chosen[:, None], pair.flip(1) + deviation * noise, pair)


def _passes(
    rows: Tensor, distance: MixedDistance, passes: int, p: float, s: float, seed: int
) -> Iterator[tuple[int, Tensor]]:
    """The changed tables, float64 ``(B, N, D)``, B passes at a time, each time with the number of the first."""
    num, width = rows.shape
    bytes_each = num * (8 * width + 4 * len(distance.origin) + 9 * width + 4 * BLOCK)
    together = max(1, min(passes, _MEMORY // bytes_each))
    for first in range(0, passes, together):
        numbers = range(first, min(first + together, passes))
        chosen = torch.empty((len(numbers), num, width), dtype=torch.bool)
        noise = torch.empty((len(numbers), 2, num, width))
        for place, number in enumerate(numbers):
            chosen[place], noise[place] = draws(seed, number, (num, width), p)
        tables = ChangingTables(rows, len(numbers), distance)
        _pass(tables, chosen, noise, distance.nominal, s)
        yield first, tables.rows


def _pass(tables: ChangingTables, chosen: Tensor, noise: Tensor, nominal: Tensor, s: float) -> None:
    """Go through the rows of all tables, with their draws, ``(B, N, D)`` and ``(B, 2, N, D)``."""
    copies, num = torch.arange(len(chosen)), chosen.shape[1]
    for start in range(0, num, BLOCK):
        block = range(start, min(start + BLOCK, num))
        tables.begin(block)
        with _one_thread():
            for index in block:
                other = tables.nearest(index)
                pair = torch.stack([tables.rows[:, index], tables.rows[copies, other]], dim=1)
                tables.replace(index, other, exchange(pair, chosen[:, index], noise[:, :, index], nominal, s))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch from sharing out operations of microseconds, where waiting for other threads takes longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _some(num: int, count: int, seed: int, number: int) -> Tensor | slice:
    """Which ``count`` of a pass's ``num`` cases are taken."""
    if count == num:
        return slice(None)
    return torch.randperm(num, generator=generator(_REST, seed, number))[:count].sort().values


def _check(inputs: Tensor, cases: int, p: float, s: float) -> None:
    if cases < 1 or not 0 <= p <= 1 or not s > 0:
        raise ValueError(f"cases must be positive, p lie in [0, 1] and s be greater than 0: got {cases}, {p} and {s}")
    if len(inputs) < 2:
        what = "MUNGE needs a neighbour, and the training part has one example"
        raise DataError(what, where="transfer", fix="raise transfer.fraction, or choose another transfer")
