from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdcli.errors import MachineError, UsageError
from kdcli.models.counts import count_parameters
from kdcli.models.torchvision_models import build_torchvision
from kdcli.models.torchvision_shim import import_torchvision

# One of each family, with the layer that classifies.
HEADS = {
    "alexnet": "classifier.6",
    "convnext_tiny": "classifier.2",
    "densenet121": "classifier",
    "efficientnet_b0": "classifier.1",
    "googlenet": "fc",
    "inception_v3": "fc",
    "maxvit_t": "classifier.5",
    "mnasnet0_5": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "resnet18": "fc",
    "shufflenet_v2_x0_5": "fc",
    "squeezenet1_1": "classifier.1",
    "swin_t": "head",
    "vgg11_bn": "classifier.6",
    "vit_b_32": "heads.head",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torch looks for weights before it downloads them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def put_weights(hub: Path, name: str, content: Any = None) -> dict[str, Tensor]:
    """Store ``content``, or random weights, as the default pretrained weights of ``name``."""
    models = import_torchvision().models
    torch.manual_seed(1)
    state: dict[str, Tensor] = models.get_model(name, weights=None).state_dict()
    url = models.get_model_weights(name).DEFAULT.url
    torch.save(state if content is None else content, hub / url.rpartition("/")[2])
    return state


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_untrained_network_gives_ten_logits_and_gradients(name: str) -> None:
    net = build_torchvision(name, 10, pretrained=False, in_channels=3)
    logits = net(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, 10)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_resnet18_has_its_known_size() -> None:
    with torch.device("meta"):
        net = build_torchvision("resnet18", 1000, pretrained=False, in_channels=3)
        grey = build_torchvision("resnet18", 10, pretrained=False, in_channels=1)
    assert count_parameters(net) == 11_689_512
    assert count_parameters(grey) == 11_689_512 - 2 * 49 * 64 - 990 * 513


@pytest.mark.parametrize(("name", "head"), HEADS.items())
def test_classes_and_channels_change_the_head_and_the_stem_alone(name: str, head: str) -> None:
    with torch.device("meta"):
        plain = build_torchvision(name, 1000, pretrained=False, in_channels=3).state_dict()
        fitted = build_torchvision(name, 7, pretrained=False, in_channels=1).state_dict()
    assert list(plain) == list(fitted)
    changed = [key for key in plain if plain[key].shape != fitted[key].shape]
    stem = next(key for key in plain if plain[key].dim() == 4)
    assert changed == [stem, *(key for key in plain if key.startswith(f"{head}."))]
    assert fitted[stem].shape[1] == 1
    assert len(fitted[f"{head}.weight"]) == 7


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_heads_return_plain_logits_in_training(name: str) -> None:
    net = build_torchvision(name, 5, pretrained=False, in_channels=3)
    with torch.no_grad():
        assert net(torch.randn(2, 3, 96, 96)).shape == (2, 5)


@pytest.mark.parametrize(("name", "head"), [("shufflenet_v2_x0_5", "fc"), ("squeezenet1_1", "classifier.1")])
def test_pretrained_network_keeps_all_weights_but_a_head_of_other_classes(hub: Path, name: str, head: str) -> None:
    stored = put_weights(hub, name)
    loaded = build_torchvision(name, 10, pretrained=True, in_channels=3).state_dict()
    assert loaded[f"{head}.bias"].shape == (10,)
    for key in set(stored) - {f"{head}.weight", f"{head}.bias"}:
        assert torch.equal(loaded[key], stored[key])


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1"])
def test_pretrained_network_keeps_a_head_of_as_many_classes(hub: Path, name: str) -> None:
    stored = put_weights(hub, name)
    loaded = build_torchvision(name, 1000, pretrained=True, in_channels=3).state_dict()
    assert all(torch.equal(loaded[key], stored[key]) for key in stored)


@pytest.mark.parametrize("in_channels", [1, 6])
def test_pretrained_network_sees_equal_channels_as_it_sees_a_grey_image(hub: Path, in_channels: int) -> None:
    put_weights(hub, "shufflenet_v2_x0_5")
    colour = build_torchvision("shufflenet_v2_x0_5", 1000, pretrained=True, in_channels=3).eval()
    fitted = build_torchvision("shufflenet_v2_x0_5", 1000, pretrained=True, in_channels=in_channels).eval()
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = colour(images.repeat(1, 3, 1, 1))
        torch.testing.assert_close(fitted(images.repeat(1, in_channels, 1, 1)), expected, rtol=1e-4, atol=1e-5)


def test_untrained_stem_for_other_channels_has_no_equal_filters() -> None:
    net = build_torchvision("resnet18", 10, pretrained=False, in_channels=2)
    stem = net.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d)
    assert not torch.equal(stem.weight[:, 0], stem.weight[:, 1])
    assert net(torch.randn(2, 2, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("before", [None, "0"])
def test_environment_is_as_before_after_loading(hub: Path, monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    monkeypatch.delenv(key, raising=False)
    if before is not None:
        monkeypatch.setenv(key, before)
    put_weights(hub, "shufflenet_v2_x0_5")
    build_torchvision("shufflenet_v2_x0_5", 10, pretrained=True, in_channels=3)
    assert os.environ.get(key) == before


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must not run",))


def test_weight_file_that_holds_code_is_refused(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_weights(hub, "shufflenet_v2_x0_5", {"x": Harmful()})
    with pytest.raises(MachineError, match="pretrained weights of shufflenet_v2_x0_5 cannot be had"):
        build_torchvision("shufflenet_v2_x0_5", 10, pretrained=True, in_channels=3)
    assert "must not run" not in capsys.readouterr().out


def test_weights_that_cannot_be_stored_are_an_environment_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(MachineError) as caught:
        build_torchvision("resnet18", 10, pretrained=True, in_channels=3)
    assert caught.value.where == "model.pretrained"


def test_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="resnt18") as caught:
        build_torchvision("resnt18", 10, pretrained=False, in_channels=3)
    assert caught.value.where == "model.name"
    assert "resnet18" in str(caught.value.fix)


def test_name_that_resembles_none_lists_them_all() -> None:
    with pytest.raises(UsageError) as caught:
        build_torchvision("zzz", 10, pretrained=False, in_channels=3)
    assert "resnet50, resnext101_32x8d" in str(caught.value.fix)


def test_detection_networks_are_not_offered() -> None:
    with pytest.raises(UsageError):
        build_torchvision("fasterrcnn_resnet50_fpn", 10, pretrained=False, in_channels=3)
