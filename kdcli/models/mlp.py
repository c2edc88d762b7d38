"""The multi-layer perceptron of the distillation papers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdcli.models.dropout import Dropout


class MlpArchitecture(NamedTuple):
    """Everything about an :class:`Mlp` but its weights; networks that share it can be stacked."""

    inputs: int
    hidden: tuple[int, ...]
    classes: int
    dropout: float
    input_dropout: float
    batch_norm: bool
    max_norm_squared: float | None


class Mlp(nn.Module):
    """Linear → [BatchNorm1d] → ReLU → Dropout for each hidden layer, then a Linear output.

    Args:
        inputs: Features of one example, after flattening.
        hidden: Units of each hidden layer; empty is softmax regression.
        classes: Units of the output layer.
        dropout: Probability of zeroing a hidden unit, in [0, 1).
        input_dropout: Probability of zeroing an input, in [0, 1).
        batch_norm: Whether each hidden layer is batch-normalised before its ReLU.
        max_norm_squared: Bound of :meth:`constrain` on each hidden unit's incoming weights, > 0; None is no bound.
        init_std: Standard deviation of all initial weights, drawn from N(0, std), with zero biases; None leaves
            torch's own initialisation.

    Raises:
        ValueError: If a number lies outside its range.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        classes: int,
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        batch_norm: bool = False,
        max_norm_squared: float | None = None,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        if max_norm_squared is not None and max_norm_squared <= 0:
            raise ValueError(f"max_norm_squared must be > 0, got {max_norm_squared}")
        self.architecture = MlpArchitecture(
            inputs, tuple(hidden), classes, dropout, input_dropout, batch_norm, max_norm_squared
        )
        widths = [inputs, *hidden]
        self.hidden = nn.ModuleList([nn.Linear(fan_in, units) for fan_in, units in pairwise(widths)])
        self.norm = nn.ModuleList([nn.BatchNorm1d(units) for units in hidden] if batch_norm else [])
        self.output = nn.Linear(widths[-1], classes)
        self.input_dropout = Dropout(input_dropout)
        self.dropout = Dropout(dropout)
        if init_std is not None:
            self._draw_weights(init_std)

    def _draw_weights(self, std: float) -> None:
        for layer in (*self.hidden, self.output):
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of ``inputs`` ``(B, ...)``, whose trailing dimensions are flattened."""
        x: Tensor = self.input_dropout(inputs.flatten(1))
        for i, layer in enumerate(self.hidden):
            x = layer(x)
            if len(self.norm):
                x = self.norm[i](x)
            x = self.dropout(x.relu())
        logits: Tensor = self.output(x)
        return logits

    @torch.no_grad()
    def constrain(self) -> None:
        """Apply :func:`bound_incoming_weights` to every hidden layer; call it after each optimiser step."""
        bound = self.architecture.max_norm_squared
        if bound is None:
            return
        for layer in self.hidden:
            assert isinstance(layer, nn.Linear)
            bound_incoming_weights(layer.weight, bound)


def bound_incoming_weights(weight: Tensor, max_norm_squared: float) -> None:
    """Scale down, in place, each unit whose incoming weights have a squared L2 norm above ``max_norm_squared``.

    Args:
        weight: Shape ``(..., units, fan_in)``; the bias is not part of it.
        max_norm_squared: The bound, > 0 (15 in the reference).

    Reference:
        Hinton et al. "Improving neural networks by preventing co-adaptation of feature detectors". arXiv:1207.0580,
        section 2 and appendix A.1.
    """
    norm = torch.linalg.vector_norm(weight, dim=-1, keepdim=True)
    weight.mul_((max_norm_squared**0.5 / norm).clamp_(max=1.0))
