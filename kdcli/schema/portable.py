"""What an exported file says of itself: in its own metadata, and in the JSON beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kdcli.schema.base import Count, Section
from kdcli.schema.results import Result

INPUT: Literal["raw"] = "raw"
OUTPUT: Literal["logits"] = "logits"


class PortableInput(Section):
    """The one input: raw examples, as the data hold them; the normalisation is inside the network.

    ``shape`` is that of one example; in front of it stands the batch, of any size.
    """

    name: Literal["raw"] = INPUT
    dtype: Literal["uint8", "float32"]
    shape: Annotated[list[Count], Field(min_length=1, max_length=3)]
    layout: Literal["NCHW", "ND"]
    meaning: str


class PortableCard(Section):
    """Enough to use an exported network without kd; nothing in it names code or another file.

    ``run_sha256`` is the hash of the run's weights, the one that a student's summary has of its teacher;
    ``fingerprint`` that of the data it was trained on. ``classes`` are in the order of the outputs, which are logits
    ``(N, C)``: of an ensemble, those whose softmax is the mean of its members.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    kd: str
    run: str
    run_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    model: str
    members: Count
    ensemble: Literal["arithmetic", "geometric"] | None
    parameters: Annotated[int, Field(ge=0)]
    precision: Literal["float32", "int8"]
    dataset: str
    fingerprint: str
    input: PortableInput
    output: Literal["logits"] = OUTPUT
    classes: Annotated[list[str], Field(min_length=1, max_length=100_000)]

    @property
    def input_shape(self) -> list[int]:
        """Shape of one example, under the name that a network's own card has for it."""
        return self.input.shape


class ExportCheck(Result):
    """The exported file beside its run, both asked about the same test examples.

    ``largest_difference`` is that of any logit, ``allowed`` what a float32 export may differ by (null for int8),
    ``agreement`` the fraction of examples of which both say the same class.
    """

    examples: int
    largest_difference: float
    allowed: float | None
    agreement: float
    top1_run: float
    top1_file: float


class ExportFile(Result):
    """The JSON beside an exported file."""

    schema_version: int = Field(default=1, alias="schema")
    file: str
    format: Literal["onnx", "torch"]
    bytes: int
    sha256: str
    card: PortableCard
    check: ExportCheck
