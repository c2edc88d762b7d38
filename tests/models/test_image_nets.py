from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from kdcli.models.cnn import SmallCnn
from kdcli.models.counts import count_macs, count_parameters
from kdcli.models.lenet import LeNet
from kdcli.models.resnet_cifar import ResNetCifar
from kdcli.models.wrn import WideResNet

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


def resnet_parameters(depth: int, in_channels: int, classes: int, widths: tuple[int, ...]) -> int:
    """Weights of 3x3 and 1x1 convolutions without bias, two numbers a channel of batch norm, and the Linear."""
    total = 9 * in_channels * widths[0] + 2 * widths[0]
    for stage, (before, width) in enumerate(pairwise(widths)):
        for block in range((depth - 2) // 6):
            fan_in = before if block == 0 else width
            total += 9 * fan_in * width + 2 * width + 9 * width * width + 2 * width
            if block == 0 and (stage > 0 or before != width):
                total += fan_in * width + 2 * width
    return total + widths[-1] * classes + classes


def wrn_parameters(depth: int, widen: int, in_channels: int, classes: int) -> int:
    widths = (16, 16 * widen, 32 * widen, 64 * widen)
    total = 9 * in_channels * 16
    for stage, (before, width) in enumerate(pairwise(widths)):
        for block in range((depth - 4) // 6):
            fan_in = before if block == 0 else width
            total += 2 * fan_in + 9 * fan_in * width + 2 * width + 9 * width * width
            if block == 0 and (stage > 0 or before != width):
                total += fan_in * width
    return total + 2 * widths[-1] + widths[-1] * classes + classes


@pytest.mark.parametrize("depth", [8, 20, 32, 56, 110])
@pytest.mark.parametrize("widths", [NARROW, WIDE])
def test_resnet_has_the_parameters_of_its_layers(depth: int, widths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        net = ResNetCifar(depth, 1, 7, widths=widths)
    assert count_parameters(net) == resnet_parameters(depth, 1, 7, widths)


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (56, 0.85), (110, 1.7)])
def test_resnet_on_cifar10_has_the_size_in_table_6_of_the_paper(depth: int, millions: float) -> None:
    # The paper pads its shortcuts with zeros; the two 1x1 convolutions here add less than 3,000 parameters.
    with torch.device("meta"):
        net = ResNetCifar(depth, 3, 10)
    digits = 2 if millions < 1 else 1
    assert round((count_parameters(net) - (16 * 32 + 32 * 64 + 2 * 32 + 2 * 64)) / 1e6, digits) == millions


@pytest.mark.parametrize(("depth", "parameters"), [(8, 1_233_540), (32, 7_433_860)])
def test_x4_resnets_on_100_classes_have_their_known_sizes(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        net = ResNetCifar(depth, 3, 100, widths=WIDE)
    assert count_parameters(net) == parameters


@pytest.mark.parametrize(("depth", "widen"), [(10, 1), (16, 1), (16, 2), (40, 1), (40, 2), (28, 10)])
def test_wide_resnet_has_the_parameters_of_its_layers(depth: int, widen: int) -> None:
    with torch.device("meta"):
        net = WideResNet(depth, widen, 1, 7)
    assert count_parameters(net) == wrn_parameters(depth, widen, 1, 7)


@pytest.mark.parametrize(
    ("depth", "widen", "classes", "millions"), [(16, 2, 100, 0.70), (40, 2, 100, 2.26), (40, 1, 100, 0.57)]
)
def test_wide_resnets_have_their_known_sizes(depth: int, widen: int, classes: int, millions: float) -> None:
    with torch.device("meta"):
        net = WideResNet(depth, widen, 3, classes)
    assert round(count_parameters(net) / 1e6, 2) == millions


def test_resnet20_on_cifar_takes_the_known_multiply_accumulates() -> None:
    # 40.55 million without projections; each of the two 1x1 convolutions adds 16 * 32 * 16 * 16.
    assert count_macs(ResNetCifar(20, 3, 10), (3, 32, 32)) / 1e6 == pytest.approx(40.55 + 0.262, abs=0.01)


@pytest.mark.parametrize(("in_channels", "size", "parameters"), [(1, 28, 61_706), (1, 32, 61_706), (3, 32, 62_006)])
def test_lenet_has_its_known_sizes(in_channels: int, size: int, parameters: int) -> None:
    assert count_parameters(LeNet(in_channels, (size, size), 10)) == parameters


@pytest.mark.parametrize("size", [(28, 28), (29, 40), (32, 32), (33, 64), (97, 50)])
def test_lenet_takes_any_image_from_28_pixels(size: tuple[int, int]) -> None:
    assert LeNet(2, size, 5)(torch.randn(3, 2, *size)).shape == (3, 5)


def test_lenet_refuses_smaller_images() -> None:
    with pytest.raises(ValueError, match="at least 28x28, got 28x27"):
        LeNet(1, (28, 27), 10)


@pytest.mark.parametrize(("in_channels", "channels"), [(1, (32, 64, 128)), (3, (8, 16))])
def test_small_cnn_has_the_parameters_of_its_layers(in_channels: int, channels: tuple[int, ...]) -> None:
    expected = sum(9 * before * width + 2 * width for before, width in pairwise((in_channels, *channels)))
    net = SmallCnn(in_channels, 10, channels=channels)
    assert count_parameters(net) == expected + channels[-1] * 10 + 10


def test_small_cnn_for_mnist_has_about_94_000_parameters() -> None:
    assert round(count_parameters(SmallCnn(1, 10)), -3) == 94_000


def test_small_cnn_without_a_convolution_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one convolution"):
        SmallCnn(1, 10, channels=())


@pytest.mark.parametrize("depth", [2, 7, 21])
def test_resnet_of_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"6n \\+ 2 .*got {depth}"):
        ResNetCifar(depth, 1, 10)


def test_resnet_with_three_widths_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got \[16, 32, 64\]"):
        ResNetCifar(8, 1, 10, widths=(16, 32, 64))


@pytest.mark.parametrize(("depth", "widen", "message"), [(4, 1, "6n \\+ 4"), (20, 1, "6n \\+ 4"), (16, 0, "widen")])
def test_wide_resnet_of_another_depth_or_factor_is_refused(depth: int, widen: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WideResNet(depth, widen, 1, 10)


def residual_is_zero(net: nn.Module) -> None:
    """Silence the last layer of each residual branch."""
    for name, parameter in net.named_parameters():
        if name.endswith(("residual.4.weight", "residual.4.bias", "residual.3.weight")):
            nn.init.zeros_(parameter)


def test_resnet_block_is_the_relu_of_its_shortcut_where_the_residual_is_silent() -> None:
    net = ResNetCifar(14, 1, 10)
    residual_is_zero(net)
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(net.stages[0](x), x.clamp(min=0))


def test_wide_resnet_block_passes_its_raw_input_where_the_residual_is_silent() -> None:
    net = WideResNet(16, 1, 1, 10)
    residual_is_zero(net)
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(net.stages[0](x), x)


def test_later_stages_halve_the_image() -> None:
    for net in (ResNetCifar(8, 1, 10), WideResNet(10, 1, 1, 10)):
        assert net.stages[:2](torch.randn(2, 16, 28, 28)).shape == (2, 32, 14, 14)
        assert net.stages(torch.randn(2, 16, 28, 28)).shape == (2, 64, 7, 7)


@pytest.mark.parametrize("make", [lambda: ResNetCifar(20, 3, 10, widths=WIDE), lambda: WideResNet(16, 2, 3, 10)])
def test_convolutions_start_with_he_spread(make: object) -> None:
    torch.manual_seed(0)
    for module in make().modules():  # type: ignore[operator]
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            weight = module.weight
            expected = (2 / (9 * module.out_channels)) ** 0.5
            assert abs(weight.std().item() - expected) < 5 * expected / (2 * weight.numel()) ** 0.5
