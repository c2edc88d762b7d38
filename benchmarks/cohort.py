"""How K fully connected networks train fastest on a CPU: stacked, by torch.func.vmap, or one after another.

Milliseconds a step (forward and backward, medians of interleaved repeats), and ratios to "in turn".
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.side_by_side import Course, Findings, interleave, main, ratio
from kdcli.losses import cross_entropy as cohort_cross_entropy
from kdcli.models.mlp import Mlp
from kdcli.models.mlp_stack import MlpStack

INPUTS, CLASSES, BATCH = 784, 10, 100
SIZES = ((18, 30), (18, 100), (18, 300), (10, 800), (10, 1200))
WARM_UP = 3


def in_turn(nets: list[Mlp], inputs: Tensor, labels: Tensor) -> None:
    """One network after another."""
    for net in nets:
        cross_entropy(net(inputs), labels).backward()
        net.zero_grad()


def stacked(stack: MlpStack, inputs: Tensor, labels: Tensor) -> None:
    """All as one program of batched products."""
    cohort_cross_entropy(stack(inputs), labels).sum().backward()
    stack.zero_grad()


def vmapped(nets: list[Mlp]) -> Callable[[Tensor, Tensor], None]:
    """All by torch.func.vmap over stacked parameters."""
    parameters, _ = torch.func.stack_module_state(nets)
    skeleton = nets[0]

    def forward(own: dict[str, Tensor], inputs: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(skeleton, own, (inputs,))
        return result

    def step(inputs: Tensor, labels: Tensor) -> None:
        logits = torch.func.vmap(forward, in_dims=(0, None))(parameters, inputs)
        cohort_cross_entropy(logits, labels).sum().backward()
        for parameter in parameters.values():
            parameter.grad = None

    return step


def compare(members: int, units: int, repeats: int) -> dict[str, Any]:
    """Medians of interleaved repeats, in milliseconds, and how much faster than in turn."""
    nets = [Mlp(INPUTS, [units, units], CLASSES) for _ in range(members)]
    inputs, labels = torch.randn(BATCH, INPUTS), torch.randint(CLASSES, (BATCH,))
    ways: dict[str, Callable[[], None]] = {
        "in_turn": partial(in_turn, nets, inputs, labels),
        "stacked": partial(stacked, MlpStack(nets), inputs, labels),
        "vmap": partial(vmapped(nets), inputs, labels),
    }
    timed = {name: partial(_milliseconds, way) for name, way in ways.items()}
    interleave(timed, WARM_UP, of=f"{members} x {units}, warm-up: ")
    raw = interleave(timed, repeats, of=f"{members} x {units}: ")
    medians = {f"{name}_ms": statistics.median(times) for name, times in raw.items()}
    ratios = {f"{name}_speedup": ratio(raw["in_turn"], raw[name]) for name in ("stacked", "vmap")}
    return {"members": members, "units": units, "raw_ms": raw} | medians | ratios


def _milliseconds(way: Callable[[], None]) -> float:
    started = time.perf_counter()
    way()
    return 1000 * (time.perf_counter() - started)


def measure(course: Course) -> Findings:
    """Every size."""
    sizes = SIZES[:1] if course.quick else SIZES
    found = [compare(members, units, course.repeats) for members, units in sizes]
    return Findings({"batch": BATCH, "threads": torch.get_num_threads(), "sizes": found})


if __name__ == "__main__":
    main("cohort", __doc__, measure, repeats=15)
