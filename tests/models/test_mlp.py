from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdcli.models.dropout import draw_mask, set_generator
from kdcli.models.mlp import Mlp


def affine(state: dict[str, Tensor], layer: str, x: Tensor) -> Tensor:
    """A Linear layer in float64, one output at a time."""
    weight, bias = state[f"{layer}.weight"].double(), state[f"{layer}.bias"].double()
    return torch.stack([(x * weight[unit]).sum(1) + bias[unit] for unit in range(len(bias))], 1)


def random_mlp(**options: object) -> Mlp:
    torch.manual_seed(0)
    return Mlp(12, (5, 4), 3, **options)  # type: ignore[arg-type]


def test_logits_equal_the_layers_written_out_in_float64() -> None:
    net = random_mlp()
    images = torch.randn(6, 3, 2, 2)
    state = net.state_dict()
    x = images.double().reshape(6, 12)
    for layer in ("hidden.0", "hidden.1"):
        x = affine(state, layer, x).clamp(min=0)
    torch.testing.assert_close(net(images).double(), affine(state, "output", x), rtol=1e-5, atol=1e-6)


def test_batch_norm_stands_between_the_linear_layer_and_the_relu() -> None:
    net = random_mlp(batch_norm=True)
    x = torch.randn(20, 12)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    hidden = x.double()
    for layer in ("hidden.0", "hidden.1"):
        hidden = affine(state, layer, hidden)
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
        hidden = hidden.clamp(min=0)
    torch.testing.assert_close(net(x).double(), affine(state, "output", hidden), rtol=1e-4, atol=1e-5)


def test_dropout_masks_the_inputs_then_each_hidden_layer() -> None:
    net = random_mlp(dropout=0.5, input_dropout=0.2)
    set_generator(net, torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)

    def drop(values: Tensor, p: float) -> Tensor:
        return values * draw_mask(torch.empty(values.shape), p, generator).double()

    x = torch.randn(6, 12)
    state = net.state_dict()
    hidden = drop(x.double(), 0.2)
    for layer in ("hidden.0", "hidden.1"):
        hidden = drop(affine(state, layer, hidden).clamp(min=0), 0.5)
    torch.testing.assert_close(net(x).double(), affine(state, "output", hidden), rtol=1e-5, atol=1e-6)


def test_state_has_readable_names() -> None:
    assert list(random_mlp().state_dict()) == [
        "hidden.0.weight",
        "hidden.0.bias",
        "hidden.1.weight",
        "hidden.1.bias",
        "output.weight",
        "output.bias",
    ]
    norms = {name for name in random_mlp(batch_norm=True).state_dict() if name.startswith("norm.1.")}
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert norms == {f"norm.1.{part}" for part in parts}


def test_no_hidden_layer_is_softmax_regression() -> None:
    net = Mlp(12, (), 3)
    x = torch.randn(4, 12)
    torch.testing.assert_close(net(x).double(), affine(net.state_dict(), "output", x.double()), rtol=1e-5, atol=1e-6)


def test_init_std_is_the_spread_of_all_weights_and_biases_are_zero() -> None:
    torch.manual_seed(0)
    state = Mlp(300, (200, 100), 50, init_std=0.01).state_dict()
    for layer in ("hidden.0", "hidden.1", "output"):
        weight = state[f"{layer}.weight"]
        # The standard error of a standard deviation of n normal draws is std / sqrt(2n).
        assert abs(weight.std().item() - 0.01) < 5 * 0.01 / (2 * weight.numel()) ** 0.5
        assert state[f"{layer}.bias"].abs().max() == 0


def test_without_init_std_weights_are_torchs_own() -> None:
    torch.manual_seed(5)
    state = Mlp(12, (4,), 3).state_dict()
    torch.manual_seed(5)
    expected = torch.nn.Linear(12, 4)
    assert torch.equal(state["hidden.0.weight"], expected.weight)


def test_constrain_scales_only_hidden_units_above_the_bound() -> None:
    net = random_mlp(max_norm_squared=1.5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
        net.hidden[0].weight[0].mul_(0.01)  # type: ignore[index]
        net.hidden[1].weight[2].zero_()  # type: ignore[index]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.constrain()
    after = net.state_dict()
    scaled = 0
    for name in ("hidden.0.weight", "hidden.1.weight"):
        for old, new in zip(before[name], after[name], strict=True):
            squared = sum(value * value for value in old.tolist())
            scaled += squared > 1.5
            expected = old * (1.5 / squared) ** 0.5 if squared > 1.5 else old
            torch.testing.assert_close(new, expected)
    assert 0 < scaled < 9
    for name in set(before) - {"hidden.0.weight", "hidden.1.weight"}:
        assert torch.equal(before[name], after[name])


def test_constrain_without_a_bound_changes_nothing() -> None:
    net = random_mlp()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.constrain()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("bound", [0.0, -1.0])
def test_bound_that_is_not_positive_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="max_norm_squared must be > 0"):
        random_mlp(max_norm_squared=bound)


def test_every_parameter_gets_a_gradient() -> None:
    net = random_mlp(batch_norm=True, dropout=0.1, input_dropout=0.1)
    net(torch.randn(30, 12)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert net.output.weight.grad is not None
    assert net.output.weight.grad.abs().sum() > 0
