"""Where weights lie: the order changes, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdcli.models import build_model, placed

CPU = torch.device("cpu")
KINDS = {"cnn": {"channels": [8, 16]}, "lenet": {}, "wrn": {"depth": 10, "widen": 1}, "resnet_cifar": {"depth": 8}}


def last(weight: torch.Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


@pytest.mark.parametrize("name", KINDS)
def test_convolutions_keep_channels_last_and_answer_the_same(name: str) -> None:
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = build_model(name, (3, 32, 32), 10, KINDS[name], seed=0).eval()
    net = placed(build_model(name, (3, 32, 32), 10, KINDS[name], seed=0), CPU).eval()
    wide = [module.weight for module in net.modules() if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)]
    assert wide
    assert all(map(last, wide))
    assert not any(last(p) for p in plain.parameters())
    assert all(torch.equal(own, net.state_dict()[key]) for key, own in plain.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(net(images), plain(images), rtol=1e-4, atol=1e-5)


def test_a_network_of_somebody_s_own_keeps_its_order() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.conv(images).view(len(images), -1)

    net = placed(Viewing(), CPU)
    assert not last(net.conv.weight)
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 288)
    net.conv.to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view"):
        net(torch.rand(2, 3, 8, 8))
