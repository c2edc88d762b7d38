"""What convolutional networks gain on a CPU from channels that lie last, and from being asked about fewer examples.

Milliseconds for one example (medians of interleaved repeats): a training step (forward and backward), and answers in
evaluation mode, 2,000 examples at once and as many as kd asks about. Ratios are to channels first and 2,000.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.side_by_side import Course, Findings, interleave, main, ratio
from kdcli.data.source import BATCH
from kdcli.models import build_model, placed

CPU, SHAPE, CLASSES = torch.device("cpu"), (1, 28, 28), 10
TRAINED, MANY = 128, 2000
NETWORKS: dict[str, dict[str, Any]] = {
    "lenet": {},
    "mlp": {"hidden": [1200, 1200]},  # has no channels: to see that fewer at once cost it nothing
    "cnn": {"channels": [32, 64, 128]},
    "resnet_cifar": {"depth": 8},
    "wrn": {"depth": 16, "widen": 1},
}
WARM_UP = 1


def step(net: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Forward and backward."""
    cross_entropy(net(images), labels).backward()
    net.zero_grad()


@torch.no_grad()
def answer(net: nn.Module, images: Tensor, at_once: int) -> None:
    """What the network says of all images, some at once."""
    for part in images.split(at_once):
        net(part)


def compare(name: str, repeats: int) -> dict[str, Any]:
    """Medians in milliseconds an example, and how many times as fast as channels first and 2,000 at once."""
    images, labels = torch.randn(MANY, *SHAPE), torch.randint(CLASSES, (TRAINED,))
    first, last = (build_model(name, SHAPE, CLASSES, NETWORKS[name], seed=0) for _ in range(2))
    asked_first, asked_last = (build_model(name, SHAPE, CLASSES, NETWORKS[name], seed=0).eval() for _ in range(2))
    placed(last, CPU), placed(asked_last, CPU)
    ways = {
        "step_first": (TRAINED, partial(step, first, images[:TRAINED], labels)),
        "step_last": (TRAINED, partial(step, last, images[:TRAINED], labels)),
        "asked_first_many": (MANY, partial(answer, asked_first, images, MANY)),
        "asked_first_few": (MANY, partial(answer, asked_first, images, BATCH)),
        "asked_last_many": (MANY, partial(answer, asked_last, images, MANY)),
        "asked_last_few": (MANY, partial(answer, asked_last, images, BATCH)),
    }
    timed = {way: partial(_milliseconds, count, call) for way, (count, call) in ways.items()}
    interleave(timed, WARM_UP, of=f"{name}, warm-up: ")
    raw = interleave(timed, repeats, of=f"{name}: ")
    asked = {way: ratio(raw["asked_first_many"], raw[way]) for way in list(ways)[3:]}
    medians = {way: statistics.median(times) for way, times in raw.items()}
    return {"ms": medians, "raw_ms": raw, "speedup": {"step_last": ratio(raw["step_first"], raw["step_last"])} | asked}


def _milliseconds(count: int, call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started) / count


def measure(course: Course) -> Findings:
    """Every network."""
    names = list(NETWORKS)[:1] if course.quick else list(NETWORKS)
    found = {name: compare(name, course.repeats) for name in names}
    return Findings({"at_once": BATCH, "threads": torch.get_num_threads(), "networks": found})


if __name__ == "__main__":
    main("convolution", __doc__, measure, repeats=15)
