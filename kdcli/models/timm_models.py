"""timm's classification networks by their names."""

from __future__ import annotations

import difflib
import re
import sys
from contextlib import redirect_stdout
from typing import Any

from torch import nn

from kdcli.errors import MachineError, UsageError, first_line
from kdcli.extras import need
from kdcli.models.torchvision_models import weights_only
from kdcli.models.torchvision_shim import import_beside_torchvision

WHERE = "model.name"
# timm itself would take names that lead to a directory or a hub.
_NAME = re.compile(r"(?P<architecture>[a-z0-9_]+)(?:\.[a-z0-9_]+)?")


def build_timm(name: str, classes: int, *, pretrained: bool, in_channels: int) -> nn.Module:
    """The network that timm calls ``name``, perhaps with the tag of its weights, with ``classes`` outputs.

    Args:
        name: As in ``timm.list_models()``, e.g. ``resnet18`` or ``resnet18.a1_in1k``.
        classes: Units of the output layer, a new one where pretrained weights have another number.
        pretrained: Whether to load the weights that timm names, downloaded on first use.
        in_channels: Channels of the images; timm adapts the first layer.

    Raises:
        UsageError: If timm has no such network.
        MachineError: If timm is not installed, or the weights cannot be had.
    """
    timm = _import_timm()
    match = _NAME.fullmatch(name)
    if match is None or match["architecture"] not in timm.list_models():
        nearest = difflib.get_close_matches(name.partition(".")[0], timm.list_models())
        fix = f"did you mean {' or '.join(nearest)}?" if nearest else "see timm.list_models()"
        raise UsageError(f"timm has no network {name!r}", where=WHERE, fix=fix)
    try:
        # Standard output belongs to the command's result.
        with redirect_stdout(sys.stderr), weights_only():
            net: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes, in_chans=in_channels)
    except Exception as error:
        if not pretrained:
            fix = "choose another of timm's networks, or resize the data"
            raise UsageError(f"timm cannot build {name}: {first_line(error)}", where=WHERE, fix=fix) from error
        raise MachineError(
            f"the pretrained weights of {name} cannot be had: {first_line(error)}",
            where="model.pretrained",
            fix="try again with a network connection, or train from scratch with model.pretrained=false",
        ) from error
    return net


def _import_timm() -> Any:
    need("model=timm", "timm", "timm", where="model")
    return import_beside_torchvision("timm")
