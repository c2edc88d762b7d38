"""The card that travels with weights: what a network is, apart from its numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from kdcli.schema.base import Count, Positive, Section
from kdcli.schema.model import Model


class NetworkCard(Section):
    """Enough to rebuild a network and to feed it: nothing in it names code, ``custom`` models apart.

    ``classes`` are in the order of the outputs; ``mean`` and ``std`` are the normalisation of its own run, one number
    a channel or attribute; ``fingerprint`` is that of the data it was trained on.
    """

    model: Model
    input_shape: Annotated[list[Count], Field(min_length=1, max_length=3)]
    classes: Annotated[list[str], Field(min_length=1, max_length=100_000)]
    dataset: str
    fingerprint: str
    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[Positive], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_lengths(self) -> NetworkCard:
        if not len(self.mean) == len(self.std) == self.input_shape[0]:
            raise ValueError(
                f"mean and std must have one number for each of the {self.input_shape[0]} channels or attributes, "
                f"not {len(self.mean)} and {len(self.std)}"
            )
        return self
