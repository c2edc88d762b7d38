"""bf16: a training whose products multiply numbers of 8 bits; weights and their updates stay float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch

Context: TypeAlias = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Precision:
    """What a step runs under: its forward pass, and all of it up to the gradients."""

    forward: Context
    whole: Context

    @classmethod
    def of(cls, device: torch.device, *, bf16: bool) -> Precision:
        """float32 as it is, or bf16: autocast, but on a CPU the products alone, so that the rest stays as fast."""
        if not bf16:
            return cls(nullcontext, nullcontext)
        if device.type == "cpu":
            return cls(nullcontext, rounded_products)
        return cls(partial(torch.autocast, device.type, dtype=torch.bfloat16), nullcontext)


@contextmanager
def rounded_products() -> Iterator[None]:
    """Let float32 products on a CPU round what they multiply to bf16, where it has instructions for that.

    That is said to the whole process: of two threads that enter and leave in turn, one would take it from the other.
    """
    kinds = [getattr(torch.backends.mkldnn, name) for name in ("matmul", "conv")]
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "bf16"
    try:
        yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.fp32_precision = was
