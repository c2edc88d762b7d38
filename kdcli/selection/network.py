"""The ensemble in the form of a network, for all that asks a teacher."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdcli.data.normalize import Normalization
from kdcli.selection.ensemble import Blend


class BlendNetwork(nn.Module):
    """Answers like a network: rows in, logits out, which are the logarithms of the ensemble's probabilities.

    Its only tensor is the digest of the ensemble, so that what is kept of its answers has a name of its own.

    Args:
        blend: The ensemble.
        sha256: Its digest, in hex.
    """

    def __init__(self, blend: Blend, sha256: str) -> None:
        super().__init__()
        self.blend = blend
        self.register_buffer("sha256", torch.tensor(list(bytes.fromhex(sha256)), dtype=torch.uint8))

    def forward(self, rows: Tensor) -> Tensor:
        """Logits, float32 ``(B, C)``, of raw rows ``(B, D)``, on their device; the models run on the CPU."""
        return self.blend.log_probabilities(rows).to(rows.device)


def as_it_is(num_attributes: int) -> Normalization:
    """The normalisation that changes nothing: the ensemble reads raw rows."""
    return Normalization((0.0,) * num_attributes, (1.0,) * num_attributes)
