"""The time of nothing but a training step's matrix products, into memory that is there already: a roofline.

For each layer: forward, the gradient of its weights, and but for the first the gradient of its inputs.

    python -m benchmarks.products --units 800 --batch 256
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import torch

SECONDS = 3.0


def products(widths: list[int], batch: int) -> list[Callable[[], object]]:
    """The products of one step, float32, each ready to be called."""
    calls: list[Callable[[], object]] = []
    for number, (fan_in, units) in enumerate(pairwise(widths)):
        calls += _layer(fan_in, units, batch, first=number == 0)
    return calls


def _layer(fan_in: int, units: int, batch: int, *, first: bool) -> list[Callable[[], object]]:
    x, weight, grad = torch.randn(batch, fan_in), torch.randn(units, fan_in), torch.randn(batch, units)
    outputs, grad_weight, grad_x = torch.empty_like(grad), torch.empty_like(weight), torch.empty_like(x)
    calls: list[Callable[[], object]] = [
        lambda: torch.mm(x, weight.t(), out=outputs),
        lambda: torch.mm(grad.t(), x, out=grad_weight),
    ]
    return calls if first else [*calls, lambda: torch.mm(grad, weight, out=grad_x)]


def measure(calls: list[Callable[[], object]], seconds: float) -> float:
    """Median time of a step, in seconds; the first tenth of them warms up."""
    times: list[float] = []
    while sum(times) < seconds:
        started = time.perf_counter()
        for call in calls:
            call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[len(times) // 10 :])


def main() -> None:
    """Measure and print seconds a step and threads, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    widths = [784, given.units, given.units, 10]
    seconds = measure(products(widths, given.batch), given.seconds)
    sys.stdout.write(json.dumps({"step_seconds": seconds, "threads": torch.get_num_threads()}) + "\n")


if __name__ == "__main__":
    main()
