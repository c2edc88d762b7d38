"""The order of the examples: a function of the data seed and the epoch, and of nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_ORDER = 1


def mix_seed(*numbers: int) -> int:
    """Mix integers to one seed in ``[0, 2**63)``: each one, and their order, changes all of its bits.

    One step of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", fig. 17)
    follows each number. Numbers are taken modulo 2**64.
    """
    state = _splitmix64(len(numbers))
    for number in numbers:
        state = _splitmix64(state ^ (number & _MASK))
    return state >> 1


def _splitmix64(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU, whatever the device of the training, seeded by ``mix_seed``."""
    return torch.Generator().manual_seed(mix_seed(*numbers))


def epoch_order(data_seed: int, epoch: int, num_examples: int) -> Tensor:
    """The permutation, int64 ``(num_examples,)``, in which an epoch visits the examples."""
    return torch.randperm(num_examples, generator=generator(_ORDER, data_seed, epoch))


def batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut an order into batches.

    The last one may be smaller. If it is a single example, unlike the others, it is left out: batch normalisation
    cannot train on one.
    """
    parts = list(torch.split(order, batch_size))
    return parts[:-1] if len(parts[-1]) == 1 < len(parts[0]) else parts
