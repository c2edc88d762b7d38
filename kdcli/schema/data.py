"""The ``dataset`` and ``transfer`` groups."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kdcli.schema.base import Count, Interval, Positive, Probability, Section, Seed, Weight


class DatasetSection(Section):
    """What every dataset has: its views, and the validation part that is cut from training.

    A dataset with a published validation part uses that one, unless ``val_fraction`` is 0.
    """

    views: Literal["none", "shift", "flip", "crop", "elastic"] = "none"
    view_pixels: Annotated[int, Interval(1, 16)] = 2
    val_fraction: Probability = 0.1
    val_seed: Seed = 0


class Shipped(DatasetSection):
    """A set that ships inside the package."""

    kind: Literal["mnist", "letter", "letter_p1", "letter_p2"]


class Downloaded(DatasetSection):
    """A set that is read from ``root`` or downloaded there."""

    kind: Literal["fashion_mnist", "cifar10", "cifar100"]
    root: str | None = None


class ImageFolder(DatasetSection):
    """Any folder of images in torchvision's layout: ``root/train/CLASS/*.png`` and ``root/test/CLASS/*.png``."""

    kind: Literal["imagefolder"]
    root: str
    size: Annotated[int, Interval(1, 4096)] = 32
    channels: Literal[1, 3] = 3
    test_fraction: Probability = 0.2
    seed: Seed = 0
    on_error: Literal["fail", "skip"] = "fail"
    memory: Literal["auto", "whole", "stream"] = "auto"
    workers: Annotated[int, Interval(0, 256)] = 0


class Csv(DatasetSection):
    """Any CSV file with a header; ``target`` is the column of the classes."""

    kind: Literal["csv"]
    path: str
    target: str
    test_path: str | None = None
    test_fraction: Probability = 0.2
    seed: Seed = 0
    nominal: list[str] | None = None


class OwnData(DatasetSection):
    """The user's own data: ``target`` is ``package.module:function``, called with ``arguments``."""

    kind: Literal["custom"]
    target: str
    arguments: dict[str, Any] = {}


Dataset = Annotated[Shipped | Downloaded | ImageFolder | Csv | OwnData, Field(discriminator="kind")]


class Originals(Section):
    """Which examples of the training part a transfer set is, or is made of.

    ``fraction`` keeps that share of every class, ``omit`` leaves classes out, ``only`` keeps nothing but these classes.
    """

    fraction: Annotated[float, Interval(0, 1, low_open=True)] = 1.0
    omit: list[Annotated[int, Interval(0)]] = []
    only: list[Annotated[int, Interval(0)]] = []
    seed: Seed = 0


class TrainingSet(Originals):
    """The transfer set is the training set, or a part of it; ``labels: false`` hides the labels."""

    kind: Literal["training_set"]
    labels: bool = True

    def labelled(self) -> TrainingSet:
        """What a baseline learns from: the same examples, or where they have no labels the whole training set."""
        return self if self.labels else TrainingSet(kind="training_set")


class Synthetic(Originals):
    """Cases without labels that are made of the originals, beside these or, with ``keep_original: false``, alone."""

    cases: Count = 100_000
    keep_original: bool = True

    @property
    def labels(self) -> bool:
        """Nobody knows the class of a case that was made up, but the teacher."""
        return False

    def labelled(self) -> TrainingSet:
        """What a baseline learns from: the originals, which have labels."""
        kept = self.model_dump(include=set(Originals.model_fields))
        return TrainingSet(kind="training_set", **kept)


class Munge(Synthetic):
    """Attributes exchanged between nearest neighbours (Bucila, Caruana and Niculescu-Mizil 2006, algorithm 1).

    Each with probability ``p``, and with noise that a large ``s`` makes small.
    """

    kind: Literal["munge"]
    p: Weight = 0.5
    s: Positive = 5.0


class RandomCases(Synthetic):
    """Each attribute drawn by itself from the values that it has."""

    kind: Literal["random"]


class Nbe(Synthetic):
    """Drawn from a naive Bayes mixture that was fitted to the originals."""

    kind: Literal["nbe"]


Transfer = Annotated[TrainingSet | Munge | RandomCases | Nbe, Field(discriminator="kind")]
