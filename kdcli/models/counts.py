"""What a network costs: parameters, multiply-accumulates and bytes."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn
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
    try:
        return _of_layers(net.eval(), example) if _is_own(net) else _of_operations(net.eval(), example)
    finally:
        for module, training in modes.items():
            module.training = training


def _is_own(net: nn.Module) -> bool:
    """Whether a network is one of kd's, all of whose products are those of its Linear and Conv2d layers."""
    return type(net).__module__.startswith("kdcli.models.")


def _of_layers(net: nn.Module, example: Tensor) -> int:
    """Torch's counter knows all operations, but to load what it knows takes a second."""
    found: list[int] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        found.append(output.numel() * weight[0].numel())

    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        net(example)
    finally:
        for handle in handles:
            handle.remove()
    return sum(found)


def _of_operations(net: nn.Module, example: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        net(example)
    return counter.get_total_flops() // 2
