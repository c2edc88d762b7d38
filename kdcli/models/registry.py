"""Networks by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from kdcli.errors import UsageError
from kdcli.models.cnn import SmallCnn
from kdcli.models.custom import load_factory
from kdcli.models.lenet import LeNet
from kdcli.models.mlp import Mlp
from kdcli.models.resnet_cifar import ResNetCifar
from kdcli.models.timm_models import build_timm
from kdcli.models.torchvision_models import build_torchvision
from kdcli.models.wrn import WideResNet

Shape = tuple[int, ...]
Options = Mapping[str, Any]


def build_model(name: str, input_shape: Shape, classes: int, options: Options, *, seed: int) -> nn.Module:
    """The network ``name``, in training mode on the CPU, whose weights depend on ``seed`` and not on what ran before.

    The global CPU generator is as it was afterwards, and no other device's is touched.

    Args:
        name: One of ``MODEL_NAMES``.
        input_shape: Shape of one example: ``(C, H, W)`` or ``(D,)``.
        classes: Logits of one example.
        options: Keyword arguments of the network; ``torchvision`` takes ``architecture`` and ``pretrained``,
            ``custom`` takes ``target`` and hands the others on.
        seed: Of the initial weights.

    Raises:
        UsageError: If there is no such network, or it does not fit the shape of the data.
        MachineError: If torchvision or its pretrained weights are needed and cannot be had.
    """
    if name not in _BUILDERS:
        nearest = difflib.get_close_matches(name, _BUILDERS) or MODEL_NAMES
        raise UsageError(f"there is no model {name!r}", where="model", fix=f"choose {' or '.join(nearest)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            return _BUILDERS[name](input_shape, classes, options)
        except ValueError as error:
            fix = "correct the keys of model; 'kd COMMAND --cfg job --package model' prints them"
            raise UsageError(f"model={name}: {error}", where="model", fix=fix) from error


def _mlp(input_shape: Shape, classes: int, options: Options) -> nn.Module:
    return Mlp(prod(input_shape), classes=classes, **options)


def _lenet(input_shape: Shape, classes: int, options: Options) -> nn.Module:
    channels, height, width = _image("lenet", input_shape, LeNet.MIN_SIZE)
    return LeNet(channels, (height, width), classes, **options)


def _cnn(input_shape: Shape, classes: int, options: Options) -> nn.Module:
    net = SmallCnn(_image("cnn", input_shape)[0], classes, **options)
    _image("cnn", input_shape, net.min_size)
    return net


def _resnet_cifar(input_shape: Shape, classes: int, options: Options) -> nn.Module:
    return ResNetCifar(in_channels=_image("resnet_cifar", input_shape)[0], classes=classes, **options)


def _wrn(input_shape: Shape, classes: int, options: Options) -> nn.Module:
    return WideResNet(in_channels=_image("wrn", input_shape)[0], classes=classes, **options)


def _from_library(build: Callable[..., nn.Module], input_shape: Shape, classes: int, options: Options) -> nn.Module:
    architecture = options["architecture"]
    channels = _image(architecture, input_shape)[0]
    net = build(architecture, classes, pretrained=options["pretrained"], in_channels=channels)
    _try_one_example(architecture, net, input_shape, classes)
    return net


def _custom(input_shape: Shape, classes: int, options: Options) -> nn.Module:
    arguments = dict(options)
    target = arguments.pop("target")
    factory = load_factory(target)
    try:
        net = factory(input_shape=input_shape, classes=classes, **arguments)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{target} failed: {type(error).__name__}: {error}",
            where="model.target",
            fix="it is called with input_shape, classes and the other keys of model as keyword arguments",
        ) from error
    if not isinstance(net, nn.Module):
        what = f"{target} returned {type(net).__name__}, not a torch.nn.Module"
        raise UsageError(what, where="model.target", fix="let it return the network")
    _try_one_example(target, net, input_shape, classes)
    return net


_BUILDERS: dict[str, Callable[[Shape, int, Options], nn.Module]] = {
    "mlp": _mlp,
    "lenet": _lenet,
    "cnn": _cnn,
    "resnet_cifar": _resnet_cifar,
    "wrn": _wrn,
    "torchvision": partial(_from_library, build_torchvision),
    "timm": partial(_from_library, build_timm),
    "custom": _custom,
}
MODEL_NAMES = tuple(_BUILDERS)


def _image(name: str, input_shape: Shape, min_size: int = 1) -> tuple[int, int, int]:
    """``input_shape`` as channels, height and width."""
    if len(input_shape) != 3:
        raise UsageError(
            f"{name} needs images (channels, height, width), but an example has the shape {input_shape}",
            where="model",
            fix="choose model=mlp, or a data set of images",
        )
    channels, height, width = input_shape
    if min(height, width) < min_size:
        raise UsageError(
            f"{name} needs images of at least {min_size}x{min_size} pixels, but these have {height}x{width}",
            where="model",
            fix="choose model=mlp, or a data set of larger images",
        )
    return channels, height, width


@torch.no_grad()
def _try_one_example(name: str, net: nn.Module, input_shape: Shape, classes: int) -> None:
    """Refuse a network that is not ours before anything is trained with it."""
    try:
        logits = net.eval()(torch.zeros(1, *input_shape))
    except Exception as error:
        raise UsageError(
            f"{name} cannot take examples of shape {input_shape}: {error}",
            where="model",
            fix="choose another model, or resize the data",
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise UsageError(
            f"{name} must return logits of shape (1, {classes}) for one example, but returned {got}",
            where="model",
            fix="choose another model, or let yours return one logit a class",
        )
    net.train()
