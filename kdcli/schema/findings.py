"""``findings.json``: what a run's report shows of its networks' answers on the test set, beside the summary."""

from __future__ import annotations

import base64
from typing import Literal, Self

from pydantic import Field, model_validator

from kdcli.schema.results import SCHEMA, Latency, ReliabilityBin, Result, TestMeasures


class Cost(Result):
    """What a network costs: of an ensemble, all members together. ``latency`` is of one example."""

    parameters: int
    macs: int
    bytes: int
    latency: Latency


class Scaled(Result):
    """The same answers, their logits divided by the ``temperature`` that is best on validation (Guo et al. 2017)."""

    temperature: float
    nll: float
    ece: float
    reliability: list[ReliabilityBin]


class Confused(Result):
    """How many examples of class ``label`` are taken for class ``prediction``."""

    label: int
    prediction: int
    times: int


class NetworkFindings(Result):
    """One network on the test set; ``confusion`` is null where the classes are many."""

    name: str
    model: str
    cost: Cost
    val_top1: float | None
    test: TestMeasures
    reliability: list[ReliabilityBin]
    scaled: Scaled | None
    confusion: list[list[int]] | None
    confused: list[Confused]


class Answer(Result):
    """What a network says of an example, and how sure it is."""

    prediction: int
    confidence: float


class Example(Result):
    """An example by its place in the test set, its label, and each network's answer."""

    index: int
    label: int
    answers: dict[str, Answer]


class Gallery(Result):
    """Examples of one kind: some of ``total``, those that are answered the most surely."""

    kind: Literal["disagree", "wrong"]
    total: int
    examples: list[Example]


class Softened(Result):
    """A distribution at one temperature, of the classes that are shown."""

    temperature: float
    probabilities: list[float]


class SoftTarget(Result):
    """What the teacher says of an example at several temperatures: the likeliest classes, and their probabilities."""

    index: int
    label: int
    classes: list[int]
    softened: list[Softened]


class Pictures(Result):
    """Small images, uint8 ``(len(indices), channels, height, width)`` as base64, by their place in the test set."""

    indices: list[int]
    channels: Literal[1, 3]
    height: int = Field(ge=1, le=256)
    width: int = Field(ge=1, le=256)
    data: str

    def pixels(self) -> dict[int, bytes] | None:
        """The bytes of each image by its place in the test set; None where they are not what they should be."""
        size = self.channels * self.height * self.width
        try:
            raw = base64.b64decode(self.data, validate=True)
        except ValueError:
            return None
        if len(raw) != size * len(self.indices):
            return None
        return {index: raw[k * size : (k + 1) * size] for k, index in enumerate(self.indices)}


class Findings(Result):
    """``findings.json``; the first network is the run's own. ``pictures`` is null for rows of a table."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    classes: list[str]
    networks: list[NetworkFindings]
    galleries: list[Gallery]
    soft_targets: list[SoftTarget]
    soft_targets_of: str
    pictures: Pictures | None

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        """Refuse classes that have no name, and answers of networks that are not there."""
        known, names = range(len(self.classes)), {each.name for each in self.networks}
        examples = [example for part in self.galleries for example in part.examples]
        numbers = [example.label for example in examples]
        numbers += [answer.prediction for example in examples for answer in example.answers.values()]
        numbers += [number for target in self.soft_targets for number in (target.label, *target.classes)]
        numbers += [
            number for each in self.networks for pair in each.confused for number in (pair.label, pair.prediction)
        ]
        if not names or any(number not in known for number in numbers):
            raise ValueError("a class that is not there")
        if any(set(example.answers) != names for example in examples):
            raise ValueError("an answer of a network that is not there")
        if any(
            len(soft.probabilities) != len(target.classes) for target in self.soft_targets for soft in target.softened
        ):
            raise ValueError("a probability too many, or one too few")
        if any(each.confusion is not None and not _is_square(each.confusion, len(known)) for each in self.networks):
            raise ValueError("a confusion matrix of another size")
        return self


def _is_square(matrix: list[list[int]], size: int) -> bool:
    return len(matrix) == size and all(len(row) == size for row in matrix)
