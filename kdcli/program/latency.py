"""How long a network takes to answer, as whoever uses it would see: raw inputs in, logits out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from kdcli.schema.results import Latency

WARM_UP_SECONDS = 0.3
SECONDS = 1.5
_FEWEST = 10
_MOST = 300


@torch.no_grad()
def measure_latency(
    classify: Callable[[Tensor], Tensor], raw: Tensor, *, brief: bool = False, seconds: float | None = None
) -> Latency:
    """Time one forward pass again and again, after a warm-up, each until the device has finished it.

    At least 10 passes are timed and at most 300, for about ``seconds``, or ``SECONDS``.

    Args:
        classify: From raw inputs ``(B, ...)`` on the device to logits.
        raw: What it is given, always the same.
        brief: Only the fewest passes.
        seconds: How long to go on.

    Returns:
        Median and 90th percentile, in seconds.
    """
    finish = _synchronizer(raw.device)
    seconds = SECONDS if seconds is None else seconds
    _time(classify, raw, finish, 0.0 if brief else min(seconds, WARM_UP_SECONDS))
    found = _time(classify, raw, finish, 0.0 if brief else seconds)
    deciles = statistics.quantiles(found, n=10, method="inclusive")
    return Latency(batch=len(raw), median=statistics.median(found), p90=deciles[-1])


def _time(classify: Callable[[Tensor], Tensor], raw: Tensor, finish: Callable[[], None], budget: float) -> list[float]:
    seconds: list[float] = []
    finish()
    while len(seconds) < _FEWEST or (sum(seconds) < budget and len(seconds) < _MOST):
        started = time.perf_counter()
        classify(raw)
        finish()
        seconds.append(time.perf_counter() - started)
    return seconds


def _synchronizer(device: torch.device) -> Callable[[], None]:
    """A call that waits until the device has done all it was asked."""
    match device.type:
        case "cuda":
            return lambda: torch.cuda.synchronize(device)
        case "mps":
            return torch.mps.synchronize
    return lambda: None
