"""Does the same training give the same weights here, to the bit?"""

from __future__ import annotations

import torch
from torch import Tensor

from kdcli.data.normalize import Normalization
from kdcli.data.source import TensorSource
from kdcli.data.types import Split
from kdcli.data.views import Identity
from kdcli.engine.bank import make_bank
from kdcli.engine.fit import Fit, FitPlan, MemberPlan
from kdcli.engine.stream import Stream
from kdcli.engine.update import SgdRule
from kdcli.models import build_model
from kdcli.objective import Objective, Span
from kdcli.schedules import Constant, ConstantRate

STEPS = 20
_BATCH = 32
_CLASSES = 10


def differing_numbers(device: torch.device) -> tuple[int, int]:
    """Train a small network with dropout twice for 20 steps: how many weights differ in any bit, and of how many."""
    first, second = (_train(device) for _ in range(2))
    pairs = [(one.view(torch.int32), second[name].view(torch.int32)) for name, one in first.items()]
    return sum(int((one != other).sum()) for one, other in pairs), sum(one.numel() for one, _ in pairs)


def _train(device: torch.device) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (STEPS * _BATCH, 1, 12, 12), dtype=torch.uint8, generator=draw)
    labels = torch.randint(0, _CLASSES, (len(images),), generator=draw)
    net = build_model("mlp", (1, 12, 12), _CLASSES, {"hidden": [64, 64], "dropout": 0.5}, seed=0)
    stream = Stream(
        TensorSource(images, device), labels.to(device), [torch.arange(len(images), device=device)], Identity(),
        Normalization.of(Split(images, labels), "image").to(device), _BATCH, 0,
    )  # fmt: skip
    plan = MemberPlan(SgdRule(momentum=0.9), 0.1, ConstantRate(), Constant(1.0), Constant(0.0))
    objective = Objective((Span(0.0, 0.0),), None, "arithmetic", (0.0,))
    fit = Fit(make_bank([net], [1], device, compiled=False), stream, objective, FitPlan([plan], 1), None)
    for _ in fit.events():
        pass
    return {name: tensor.detach().cpu() for name, tensor in fit.bank.state(0).items()}
