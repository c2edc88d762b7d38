"""How K fully connected networks train fastest on a CPU: stacked, by torch.func.vmap, or one after another.

Prints one JSON: milliseconds a step (forward and backward, medians of interleaved repeats), and ratios to "in turn".

    python benchmarks/cohort.py [--repeats 15]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kdcli.losses import cross_entropy as cohort_cross_entropy
from kdcli.models.mlp import Mlp
from kdcli.models.mlp_stack import MlpStack

INPUTS, CLASSES, BATCH = 784, 10, 100
SIZES = ((18, 30), (18, 100), (18, 300), (10, 800), (10, 1200))


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
    parameters, _ = torch.func.stack_module_state(nets)  # type: ignore[arg-type]
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


def measure(members: int, units: int, repeats: int) -> dict[str, float]:
    """Medians of interleaved repeats, in milliseconds."""
    nets = [Mlp(INPUTS, [units, units], CLASSES) for _ in range(members)]
    stack, by_vmap = MlpStack(nets), vmapped(nets)
    inputs, labels = torch.randn(BATCH, INPUTS), torch.randint(CLASSES, (BATCH,))
    ways: dict[str, Callable[[], None]] = {
        "in_turn": lambda: in_turn(nets, inputs, labels),
        "stacked": lambda: stacked(stack, inputs, labels),
        "vmap": lambda: by_vmap(inputs, labels),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 3):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if repeat >= 3:
                seconds[name].append(time.perf_counter() - started)
    medians = {f"{name}_ms": 1000 * statistics.median(values) for name, values in seconds.items()}
    ratios = {f"{name}_speedup": medians["in_turn_ms"] / medians[f"{name}_ms"] for name in ("stacked", "vmap")}
    return medians | ratios


def main() -> None:
    """Measure every size and print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    results = [{"members": members, "units": units} | measure(members, units, repeats) for members, units in SIZES]
    machine = {"cpu_count": torch.get_num_threads(), "processor": platform.machine(), "torch": torch.__version__}
    json.dump({"benchmark": "cohort", "batch": BATCH, "machine": machine, "results": results}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
