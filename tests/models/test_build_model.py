from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kdcli.errors import UsageError
from kdcli.models import MODEL_NAMES, build_model

GREY = (1, 28, 28)
COLOUR = (3, 32, 32)
OPTIONS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [20, 20], "dropout": 0.5, "input_dropout": 0.2, "batch_norm": True},
    "lenet": {},
    "cnn": {"channels": [8, 16]},
    "resnet_cifar": {"depth": 8},
    "wrn": {"depth": 10, "widen": 1},
    "torchvision": {"architecture": "shufflenet_v2_x0_5", "pretrained": False},
    "timm": {"architecture": "resnet18", "pretrained": False},  # see test_timm_models.py
    "custom": {"target": "torch.nn:Sequential"},
}
own = pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("custom", "timm")])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_factory(here: Path, module: str, body: str) -> str:
    source = f"from torch import nn\ndef build(input_shape, classes, **options):\n    {body}\n"
    (here / f"{module}.py").write_text(source)
    return f"{module}:build"


def refusal(name: str, input_shape: tuple[int, ...], options: dict[str, Any]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        build_model(name, input_shape, 10, options, seed=0)
    return caught.value


def test_options_are_tried_here_for_every_name() -> None:
    assert set(MODEL_NAMES) == set(OPTIONS)


@own
@pytest.mark.parametrize("input_shape", [GREY, COLOUR])
def test_model_gives_logits_and_all_its_parameters_gradients(name: str, input_shape: tuple[int, ...]) -> None:
    net = build_model(name, input_shape, 10, OPTIONS[name], seed=0)
    assert net.training
    logits = net(torch.randn(2, *input_shape))
    assert logits.shape == (2, 10)
    (logits * torch.randn(2, 10)).sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    first = next(net.parameters()).grad
    assert first is not None
    assert first.abs().sum() > 0


@own
def test_eval_mode_is_deterministic_and_separates_the_examples(name: str) -> None:
    net = build_model(name, COLOUR, 10, OPTIONS[name], seed=0).eval()
    images = torch.randn(3, *COLOUR)
    with torch.no_grad():
        together = net(images)
        assert torch.equal(net(images), together)
        torch.testing.assert_close(net(images[1:2]), together[1:2], rtol=1e-4, atol=1e-5)


@own
def test_same_seed_gives_the_same_weights_whatever_ran_before(name: str) -> None:
    first = build_model(name, COLOUR, 10, OPTIONS[name], seed=3).state_dict()
    torch.manual_seed(99)
    torch.randn(5)
    second = build_model(name, COLOUR, 10, OPTIONS[name], seed=3).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@own
def test_another_seed_gives_other_weights(name: str) -> None:
    one, two = (next(build_model(name, COLOUR, 10, OPTIONS[name], seed=seed).parameters()) for seed in (1, 2))
    assert not torch.equal(one, two)


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build_model("mlp", (4,), 3, {"hidden": [5]}, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_mlp_takes_a_table() -> None:
    assert build_model("mlp", (16,), 26, {"hidden": []}, seed=0)(torch.randn(5, 16)).shape == (5, 26)


@pytest.mark.parametrize("name", ["lenet", "cnn", "resnet_cifar", "wrn", "torchvision"])
def test_network_for_images_refuses_a_table(name: str) -> None:
    error = refusal(name, (16,), OPTIONS[name])
    assert error.where == "model"
    assert "needs images" in error.what
    assert "(16,)" in error.what
    assert "model=mlp" in str(error.fix)


@pytest.mark.parametrize(("name", "size", "needed"), [("lenet", 27, "28x28"), ("cnn", 3, "4x4")])
def test_network_refuses_images_that_are_too_small(name: str, size: int, needed: str) -> None:
    error = refusal(name, (1, 40, size), OPTIONS[name])
    assert error.where == "model"
    assert f"at least {needed}" in error.what
    assert f"40x{size}" in error.what


def test_smallest_image_of_the_cnn_is_taken() -> None:
    assert build_model("cnn", (1, 4, 4), 10, OPTIONS["cnn"], seed=0)(torch.randn(2, 1, 4, 4)).shape == (2, 10)


def test_torchvision_network_refuses_a_size_it_cannot_take() -> None:
    error = refusal("torchvision", GREY, {"architecture": "inception_v3", "pretrained": False})
    assert error.where == "model"
    assert "inception_v3 cannot take examples of shape (1, 28, 28)" in error.what


def test_number_that_makes_no_network_is_a_usage_error() -> None:
    error = refusal("resnet_cifar", COLOUR, {"depth": 9})
    assert error.where == "model"
    assert "6n + 2" in error.what


def test_unknown_model_names_the_nearest() -> None:
    error = refusal("lenett", GREY, {})
    assert error.where == "model"
    assert "lenet" in str(error.fix)


def test_model_that_resembles_none_lists_them_all() -> None:
    assert all(name in str(refusal("zzz", GREY, {}).fix) for name in MODEL_NAMES)


def test_custom_factory_gets_shape_classes_and_the_other_options(here: Path) -> None:
    body = "return nn.Sequential(nn.Flatten(), nn.Linear(784, options['width']), nn.Linear(options['width'], classes))"
    target = write_factory(here, "factory_that_works", body)
    net = build_model("custom", GREY, 10, {"target": target, "width": 6}, seed=0)
    assert net.training
    assert net(torch.randn(2, *GREY)).shape == (2, 10)
    again = build_model("custom", GREY, 10, {"target": target, "width": 6}, seed=0)
    assert torch.equal(next(net.parameters()), next(again.parameters()))


@pytest.mark.parametrize(
    ("module", "body", "message"),
    [
        ("factory_of_list", "return [1]", "returned list, not a torch.nn.Module"),
        ("factory_that_raises", "return options['width']", "failed: KeyError: 'width'"),
        ("factory_of_misfit", "return nn.Linear(3, classes)", "cannot take examples of shape"),
        ("factory_of_two", "return nn.Sequential(nn.Flatten(), nn.Linear(784, 2))", r"returned shape \(1, 2\)"),
        ("factory_of_pair", "return nn.Sequential(nn.Flatten(0, 2), nn.LSTM(28, 3))", "returned a tuple"),
    ],
)
def test_custom_factory_that_does_not_fit_is_refused(here: Path, module: str, body: str, message: str) -> None:
    target = write_factory(here, module, body)
    with pytest.raises(UsageError, match=message):
        build_model("custom", GREY, 10, {"target": target}, seed=0)
