"""torchvision, also beside a CPU-only torch.

torchvision's ordinary wheel is linked against CUDA torch. Beside a CPU-only torch its C++ operators do not load, and
the import fails where torchvision registers Python versions of two of them. Nothing here needs these operators, so
declaring their schemas is enough. Where the plain import works, nothing is declared.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

import torch

from kdcli.errors import MachineError

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# Alive as long as the process: the declarations end with the object.
_declared: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """The ``torchvision`` package, whichever build of torch it stands beside.

    Raises:
        MachineError: If torchvision is not installed.
    """
    if importlib.util.find_spec("torchvision") is None:
        raise MachineError("torchvision is not installed", fix="pip install torchvision")
    return import_beside_torchvision("torchvision")


def import_beside_torchvision(module: str) -> ModuleType:
    """Import a module that may itself import torchvision, as timm, torchmetrics and users' own models do."""
    try:
        return importlib.import_module(module)
    except RuntimeError as error:
        if _declared is not None or "operator torchvision::" not in str(error):
            raise
    _declare_operators()
    _forget_half_imported()
    return importlib.import_module(module)


def _declare_operators() -> None:
    global _declared
    _declared = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        _declared.define(schema)


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
