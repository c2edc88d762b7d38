"""How long 400,000 synthetic cases take, made of the 4,000 training rows of letter.p1 with 16 attributes.

Wall and processor seconds of MUNGE, NBE and RANDOM, and of one pass of MUNGE row by row with an exhaustive search in
float64, to which MUNGE is compared: the cases have to be the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.side_by_side import Course, Findings, Target, interleave, main, summarised
from kdcli.data.letter import letter_p1
from kdcli.synthetic import munge, nbe, random_cases
from kdcli.synthetic.munge import draws, exchange

ROWS, CASES, P, S = 4_000, 400_000, 0.5, 3.0


def row_by_row(inputs: Tensor) -> Tensor:
    """One pass of the algorithm on continuous attributes, as it is written."""
    table = inputs.double()
    scale = table.amax(0) - table.amin(0)
    chosen, noise = draws(0, 0, (table.shape[0], table.shape[1]), P)
    nominal = torch.zeros(table.shape[1], dtype=torch.bool)
    for row in range(len(table)):
        distance = ((table - table[row]) / scale).square().cumsum(1)[:, -1]
        distance[row] = torch.inf
        pair = torch.stack([torch.tensor(row), distance.argmin()])
        table[pair] = exchange(table[pair][None], chosen[row][None], noise[:, row][None], nominal, S)[0]
    return table.float()


def measure(course: Course) -> Findings:
    """All ways, side by side."""
    rows, cases = (500, 5_000) if course.quick else (ROWS, CASES)
    inputs = letter_p1().train.inputs
    assert isinstance(inputs, Tensor)
    inputs = inputs[:rows]
    ways: dict[str, Callable[[], Tensor]] = {
        "munge": lambda: munge(inputs, (), cases, p=P, s=S, seed=0),
        "nbe": lambda: nbe(inputs, (), cases, seed=0),
        "random": lambda: random_cases(inputs, cases, seed=0),
        "munge_row_by_row": lambda: row_by_row(inputs),
    }
    assert torch.equal(munge(inputs, (), rows, p=P, s=S, seed=0), row_by_row(inputs))
    raw = interleave({name: partial(_timed, way) for name, way in ways.items()}, course.repeats)
    found: dict[str, Any] = {
        name: {
            "cases": rows if name == "munge_row_by_row" else cases,
            "seconds": summarised([wall for wall, _ in times]),
            "processor_seconds": summarised([own for _, own in times]),
        }
        for name, times in raw.items()
    }
    each = {name: found[name]["seconds"]["median"] / found[name]["cases"] for name in raw}
    settings = {"rows": rows, "attributes": inputs.shape[1], "p": P, "s": S, "threads": torch.get_num_threads()}
    speedup = each["munge_row_by_row"] / each["munge"]
    target = Target(f"seconds for {cases:,} cases of MUNGE", 60, found["munge"]["seconds"]["median"], at_most=True)
    return Findings(settings | {"ways": found, "munge_speedup": speedup}, [target])


def _timed(way: Callable[[], Tensor]) -> tuple[float, float]:
    started, processor = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - started, time.process_time() - processor


if __name__ == "__main__":
    main("munge", __doc__, measure, repeats=3)
