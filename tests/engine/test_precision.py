"""bf16 on a CPU: what is multiplied is rounded, all else is float32."""

from __future__ import annotations

import pytest
import torch

from kdcli.engine.precision import Precision, rounded_products

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no instructions for bf16"
)


def factors() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(128, 784, generator=draw), torch.randn(800, 784, generator=draw)


def said() -> list[str]:
    return [getattr(torch.backends.mkldnn, name).fp32_precision for name in ("matmul", "conv")]


def test_factors_are_rounded_and_the_sum_is_not() -> None:
    x, weight = factors()
    rounded = (x.bfloat16().double() @ weight.bfloat16().double().t()).float()
    with rounded_products():
        product = x @ weight.t()
    assert product.dtype == torch.float32
    torch.testing.assert_close(product, rounded, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(x @ weight.t(), rounded, rtol=1e-4, atol=1e-3), "outside of it they are not"


def test_gradients_of_an_autograd_network_are_rounded_too() -> None:
    x, weight = factors()
    weight.requires_grad_()
    gradient = torch.randn(128, 800, generator=torch.Generator().manual_seed(1))
    with Precision.of(CPU, bf16=True).whole():
        (x @ weight.t()).backward(gradient)
    rounded = (gradient.bfloat16().double().t() @ x.bfloat16().double()).float()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, rounded, rtol=1e-4, atol=1e-3)


def test_what_was_set_is_set_again_also_after_an_error() -> None:
    before = said()
    with rounded_products():
        assert said() == ["bf16", "bf16"] != before
    with pytest.raises(KeyError, match="gone"), rounded_products():
        raise KeyError("gone")
    assert said() == before
    with Precision.of(CPU, bf16=False).whole():
        assert said() == before
