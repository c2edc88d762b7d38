from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdcli.models.cnn import SmallCnn
from kdcli.models.counts import count_bytes, count_macs, count_parameters
from kdcli.models.lenet import LeNet
from kdcli.models.mlp import Mlp
from kdcli.models.resnet_cifar import ResNetCifar
from kdcli.models.wrn import WideResNet


def test_mlp_takes_one_multiply_accumulate_a_weight() -> None:
    net = Mlp(784, (30, 20), 10)
    assert count_macs(net, (1, 28, 28)) == 784 * 30 + 30 * 20 + 20 * 10
    assert count_parameters(net) == 784 * 30 + 30 + 30 * 20 + 20 + 20 * 10 + 10


def test_convolution_takes_one_multiply_accumulate_a_weight_and_position() -> None:
    net = nn.Conv2d(3, 8, 5, stride=2, padding=2)
    assert count_macs(net, (3, 32, 32)) == 3 * 8 * 5 * 5 * 16 * 16


def test_what_has_no_parameters_counts_as_nothing_and_is_not_asked() -> None:
    class Kept(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            raise AssertionError("asked")

    assert count_macs(Kept(), (3,)) == 0


def test_bytes_are_those_of_parameters_and_buffers() -> None:
    net = nn.Sequential(nn.Linear(3, 4).double(), nn.BatchNorm1d(4))
    assert count_bytes(net) == (3 * 4 + 4) * 8 + 4 * 4 * 4 + 8


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(5, 5)
    net = nn.Sequential(layer, layer)
    assert count_parameters(net) == 30
    assert count_bytes(net) == 120


def test_counting_leaves_modes_and_running_statistics_alone() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Dropout(0.5)))
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    count_macs(net, (3,))
    assert [module.training for module in net.modules()] == [True, True, True, False, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_modes_are_restored_when_the_network_refuses_the_shape() -> None:
    net = nn.Linear(3, 4)
    with pytest.raises(RuntimeError):
        count_macs(net, (7,))
    assert net.training


OWN: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "mlp": (Mlp(12, [5, 4], 3, batch_norm=True), (3, 2, 2)),
    "lenet": (LeNet(1, (28, 28), 10), (1, 28, 28)),
    "cnn": (SmallCnn(1, 10), (1, 28, 28)),
    "resnet": (ResNetCifar(8, 3, 10), (3, 32, 32)),
    "wrn": (WideResNet(10, 2, 3, 10), (3, 32, 32)),
}


@pytest.mark.parametrize("name", OWN)
def test_what_is_counted_by_layers_is_what_torch_counts_by_operations(name: str) -> None:
    net, shape = OWN[name]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, *shape))
    assert count_macs(net, shape) == counter.get_total_flops() // 2 > 0
    assert not any(layer._forward_hooks for layer in net.modules())
