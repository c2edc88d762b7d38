"""The ``dataset`` and ``transfer`` groups."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kdcli.schema.base import Interval, Probability, Section, Seed


class DatasetSection(Section):
    """What every dataset has: its views, and the validation part that is cut from training.

    A dataset with a published validation part uses that one, unless ``val_fraction`` is 0.
    """

    views: Literal["none", "shift", "flip", "crop"] = "none"
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


class TrainingSet(Section):
    """The transfer set is the training set, or a part of it.

    ``fraction`` keeps that share of every class, ``labels: false`` hides the labels, ``omit`` leaves classes out,
    ``only`` keeps nothing but these classes.
    """

    kind: Literal["training_set"]
    fraction: Annotated[float, Interval(0, 1, low_open=True)] = 1.0
    labels: bool = True
    omit: list[Annotated[int, Interval(0)]] = []
    only: list[Annotated[int, Interval(0)]] = []
    seed: Seed = 0


Transfer = TrainingSet
