"""Where a network's weights lie, and in what order."""

from __future__ import annotations

import torch
from torch import nn

_KNOWN = ("kdcli.", "torchvision.", "timm.")
"""Whose networks never look at a tensor's strides; somebody's own may, by a ``view`` behind a convolution."""


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on its device; on a CPU its convolutions have the channels last, where they are a little faster.

    Values and names stay what they are; what follows a convolution takes the order of its weights.
    """
    network.to(device)
    if device.type == "cpu" and type(network).__module__.startswith(_KNOWN):
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return network
