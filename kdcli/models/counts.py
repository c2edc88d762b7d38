"""What a network costs: parameters, multiply-accumulates and bytes."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(net: nn.Module) -> int:
    """Elements of all parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in net.parameters())


def count_bytes(net: nn.Module) -> int:
    """Memory of the parameters and buffers, in bytes; shared ones count once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in chain(net.parameters(), net.buffers()))


@torch.no_grad()
def count_macs(net: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of classifying one example, in eval mode; the network's own mode is restored.

    What has no parameters is no network, and counts as 0.

    Matrix products, convolutions and attention count, element-wise operations and pooling do not.

    Args:
        net: The network; the example is made on the device and of the type of its first parameter.
        input_shape: Shape of one example, without the batch.
    """
    first = next(net.parameters(), None)
    if first is None:
        return 0
    modes = {module: module.training for module in net.modules()}
    example = first.new_zeros(1, *input_shape)
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            net.eval()(example)
    finally:
        for module, training in modes.items():
            module.training = training
    return counter.get_total_flops() // 2
