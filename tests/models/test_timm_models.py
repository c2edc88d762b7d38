from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
import torch

from kdcli.errors import MachineError, UsageError
from kdcli.models import build_model

installed = pytest.mark.skipif(find_spec("timm") is None, reason="needs the extra timm")
OPTIONS = {"architecture": "resnet10t", "pretrained": False}


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MachineError, match="not installed") as caught:
        build_model("timm", (3, 32, 32), 4, OPTIONS, seed=0)
    assert "kdcli[timm]" in str(caught.value.fix)


@pytest.mark.slow
@installed
def test_a_network_by_name_has_the_classes_and_channels_that_are_asked_for() -> None:
    net = build_model("timm", (1, 32, 32), 4, OPTIONS, seed=0)
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 4)


@pytest.mark.slow
@installed
@pytest.mark.parametrize(
    "name", ["resnet18x", "hf-hub:timm/resnet18", "local-dir:/tmp", "resnet18.a1.b", "../resnet18", ""]
)
def test_only_names_that_timm_lists_are_built(name: str) -> None:
    with pytest.raises(UsageError, match="timm has no network"):
        build_model("timm", (3, 32, 32), 4, {"architecture": name, "pretrained": False}, seed=0)
