"""torchvision's classification networks by their registry names."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from torch import nn

from kdcli.errors import MachineError, UsageError
from kdcli.models.torchvision_shim import import_torchvision

WHERE = "model.name"
# In training these two return the logits of auxiliary heads as well, which no loss here asks for.
_AUXILIARY = ("googlenet", "inception_v3")


def build_torchvision(name: str, classes: int, *, pretrained: bool, in_channels: int) -> nn.Module:
    """The network that torchvision registers as ``name``, with ``classes`` outputs.

    Args:
        name: As in ``torchvision.models.list_models()``, e.g. ``resnet18``.
        classes: Units of the output layer. Where pretrained weights have another number, the layer is replaced.
        pretrained: Whether to load torchvision's default weights, downloaded on first use.
        in_channels: Channels of the images. For another number than 3 the first convolution is replaced; a pretrained
            one keeps its filters, averaged over the colours, so that a grey image is seen as its three copies would be.

    Raises:
        UsageError: If torchvision has no such classification network.
        MachineError: If torchvision is not installed, or the weights cannot be had.
    """
    torchvision = import_torchvision()
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        nearest = difflib.get_close_matches(name, names)
        raise UsageError(
            f"torchvision has no classification network {name!r}",
            where=WHERE,
            fix=f"did you mean {' or '.join(nearest)}?" if nearest else f"choose one of: {', '.join(names)}",
        )
    net = _pretrained(torchvision, name) if pretrained else _untrained(torchvision, name, classes)
    if pretrained:
        _fit_head(net, classes)
    _fit_stem(net, in_channels, keep_filters=pretrained)
    return net


def _untrained(torchvision: Any, name: str, classes: int) -> nn.Module:
    options = {"aux_logits": False, "init_weights": True} if name in _AUXILIARY else {}
    net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    return net


def _pretrained(torchvision: Any, name: str) -> nn.Module:
    options = {"aux_logits": False} if name in _AUXILIARY else {}
    try:
        # Standard output belongs to the command's result, and torch announces the download there.
        with redirect_stdout(sys.stderr), weights_only():
            net: nn.Module = torchvision.models.get_model(name, weights="DEFAULT", progress=False, **options)
    except Exception as error:
        raise MachineError(
            f"the pretrained weights of {name} cannot be had: {error}",
            where="model.pretrained",
            fix="try again with a network connection, or train from scratch with model.pretrained=false",
        ) from error
    return net


@contextmanager
def weights_only() -> Iterator[None]:
    """Have torch refuse a weight file that holds anything but tensors, which torchvision does not ask for."""
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _fit_head(net: nn.Module, classes: int) -> None:
    linears = [(path, module) for path, module in net.named_modules() if isinstance(module, nn.Linear)]
    if linears:
        path, linear = linears[-1]
        if linear.out_features != classes:
            net.set_submodule(path, nn.Linear(linear.in_features, classes, bias=linear.bias is not None))
        return
    # squeezenet classifies with a 1x1 convolution.
    path, conv = [(path, module) for path, module in net.named_modules() if isinstance(module, nn.Conv2d)][-1]
    if conv.out_channels != classes:
        net.set_submodule(path, nn.Conv2d(conv.in_channels, classes, 1))


def _fit_stem(net: nn.Module, in_channels: int, *, keep_filters: bool) -> None:
    stem = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    if stem.in_channels == in_channels:
        return
    stem.in_channels = in_channels
    summed = stem.weight.detach().sum(1, keepdim=True)
    stem.weight = nn.Parameter(summed.repeat(1, in_channels, 1, 1) / in_channels)
    if not keep_filters:
        stem.reset_parameters()
