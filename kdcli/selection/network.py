"""The ensemble in the form of a network, for all that asks a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdcli.data.normalize import Normalization
from kdcli.selection.ensemble import Blend

KEY_BYTES = 16


class KeptEnsemble(nn.Module):
    """Answers like a network: rows in, logits out, which are the logarithms of the ensemble's probabilities.

    What the ensemble says of the rows of its data is kept, known by a digest of each row. Only of other rows are its
    models asked, which may have to be fitted again for it.

    Args:
        sha256: The ensemble's digest, uint8 ``(32,)``.
        rows: The digests of the rows whose answers are kept, uint8 ``(N, 16)``; see `row_digests`.
        answers: What it says of them, float32 ``(N, C)``.
        models: Gives the models.
    """

    at_once = 2000
    """Rows to ask about at once: each call of each model costs about as much as some hundred rows."""
    sha256: Tensor
    rows: Tensor
    answers: Tensor

    def __init__(self, sha256: Tensor, rows: Tensor, answers: Tensor, models: Callable[[], Blend]) -> None:
        super().__init__()
        for name, tensor in {"sha256": sha256, "rows": rows, "answers": answers}.items():
            self.register_buffer(name, tensor)
        self._places = {key: place for place, key in enumerate(_split(rows))}
        self._models = models

    def forward(self, rows: Tensor) -> Tensor:
        """Logits, float32 ``(B, C)``, of raw rows ``(B, D)``, on their device; the models run on the CPU."""
        places = torch.tensor([self._places.get(key, -1) for key in _split(row_digests(rows))])
        said = self.answers[places.to(self.answers.device)]
        unknown = places < 0
        if bool(unknown.any()):
            asked = self._models().log_probabilities(rows.cpu()[unknown], threads=torch.get_num_threads())
            said[unknown.to(said.device)] = asked.to(said.device)
        return said.to(rows.device)


def keep(blend: Blend, sha256: str, rows: Tensor) -> KeptEnsemble:
    """Ask an ensemble about all rows of its data, ``(N, D)``, and keep its answers."""
    answers = blend.log_probabilities(rows, threads=torch.get_num_threads())
    digest = torch.frombuffer(bytearray.fromhex(sha256), dtype=torch.uint8)
    return KeptEnsemble(digest, row_digests(rows), answers, lambda: blend)


def row_digests(rows: Tensor) -> Tensor:
    """A digest of each row's numbers, uint8 ``(N, 16)`` for float32 ``(N, D)``; equal rows have equal ones."""
    numbers = rows.cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    digests = b"".join(hashlib.blake2b(row.data, digest_size=KEY_BYTES).digest() for row in numbers)
    return torch.frombuffer(bytearray(digests), dtype=torch.uint8).view(len(rows), KEY_BYTES)


def as_it_is(num_attributes: int) -> Normalization:
    """The normalisation that changes nothing: the ensemble reads raw rows."""
    return Normalization((0.0,) * num_attributes, (1.0,) * num_attributes)


def _split(digests: Tensor) -> list[bytes]:
    joined = digests.cpu().contiguous().numpy().tobytes()
    return [joined[first : first + KEY_BYTES] for first in range(0, len(joined), KEY_BYTES)]
