"""A trained network, or the members of an ensemble, as one module from raw examples to logits."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from kdcli.data.normalize import Normalization
from kdcli.errors import UsageError, first_line
from kdcli.losses import EnsembleMean
from kdcli.trained import Trained

_EXAMPLES = 3  # a batch of 0 or 1 would become part of the program


class Portable(nn.Module):
    """Raw examples in, logits out; the normalisations are buffers.

    Args:
        networks: The members, in evaluation mode on the CPU.
        normalizations: Each member's own.
        ensemble: How several are combined.
        images: Whether examples are uint8 images ``(N, C, H, W)`` or float32 rows ``(N, D)``.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        normalizations: Sequence[Normalization],
        ensemble: EnsembleMean,
        *,
        images: bool,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.ensemble = ensemble
        self.images = images
        for number, each in enumerate(normalizations):
            first, second = (_of_images if images else _of_rows)(each)
            self.register_buffer(f"first_{number}", first)
            self.register_buffer(f"second_{number}", second)

    def forward(self, raw: Tensor) -> Tensor:
        """Logits ``(N, C)``, float32; the same operations as those of ``Normalization``."""
        said: list[Tensor] = [
            network(self._normalised(raw, number)).float() for number, network in enumerate(self.networks)
        ]
        if len(said) == 1:
            return said[0]
        members = torch.stack(said)
        if self.ensemble == "geometric":
            return members.mean(0)
        return members.log_softmax(-1).logsumexp(0) - math.log(len(said))

    def _normalised(self, raw: Tensor, number: int) -> Tensor:
        first, second = self.get_buffer(f"first_{number}"), self.get_buffer(f"second_{number}")
        normalised: Tensor = raw.float() * first + second if self.images else (raw - first) * second
        return normalised


def _of_images(numbers: Normalization) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(each, dtype=torch.float64).view(-1, 1, 1) for each in (numbers.mean, numbers.std))
    return (1 / (255 * std)).float(), (-mean / std).float()


def _of_rows(numbers: Normalization) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(each, dtype=torch.float64) for each in (numbers.mean, numbers.std))
    return mean.float(), (1 / std).float()


def make_portable(members: Sequence[Trained], ensemble: EnsembleMean) -> Portable:
    """The networks of a run as one module."""
    networks = [deepcopy(member.network).cpu().eval().requires_grad_(False) for member in members]
    images = len(members[0].card.input_shape) == 3
    return Portable(networks, [member.normalization.to("cpu") for member in members], ensemble, images=images).eval()


def as_program(portable: Portable, input_shape: Sequence[int], where: str) -> ExportedProgram:
    """The module as a graph of torch's operators, for batches of any size.

    Raises:
        UsageError: It does what a graph cannot hold, as a custom model may.
    """
    dtype = torch.uint8 if portable.images else torch.float32
    example = torch.zeros(_EXAMPLES, *input_shape, dtype=dtype)
    try:
        with silenced():
            program = torch.export.export(portable, (example,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:
        raise UsageError(
            f"the network cannot be exported: {type(error).__name__}: {first_line(error)}"[:500],
            where=where,
            fix="its forward pass must be made of torch's operators, without branches on values or on the batch size",
        ) from error
    program.example_inputs = None  # torch.export.save would pickle them
    return program


@contextmanager
def silenced() -> Iterator[None]:
    """Keep back what exporters warn of among themselves, and log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
