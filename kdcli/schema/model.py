"""The ``model`` group: one section for each family of networks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kdcli.schema.base import Count, Interval, Positive, Probability, Section, Share


class Mlp(Section):
    """Fully connected network with ReLU."""

    kind: Literal["mlp"]
    hidden: Annotated[list[Count], Field(max_length=32)]
    dropout: Probability = 0.0
    input_dropout: Probability = 0.0
    batch_norm: bool = False
    max_norm_squared: Positive | None = None
    init_std: Positive | None = None


class Lenet(Section):
    """LeNet-5 with ReLU."""

    kind: Literal["lenet"]


class Cnn(Section):
    """Small convolutional network: 3x3 convolutions, batch norm, pooling."""

    kind: Literal["cnn"]
    channels: Annotated[list[Count], Field(min_length=1, max_length=8)]


class CifarResnet(Section):
    """Residual network for small images (He et al. 2015, section 4.2), with a widening factor."""

    kind: Literal["resnet_cifar"]
    depth: Annotated[int, Interval(8, 1202)]
    widths: Annotated[list[Count], Field(min_length=4, max_length=4)]


class Wrn(Section):
    """Wide residual network (Zagoruyko and Komodakis 2016)."""

    kind: Literal["wrn"]
    depth: Annotated[int, Interval(10, 1000)]
    widen: Annotated[int, Interval(1, 64)]


class Torchvision(Section):
    """A classification model of torchvision, by its registered name."""

    kind: Literal["torchvision"]
    name: str
    pretrained: bool = False


class Timm(Section):
    """A classification model of timm, by its name, perhaps with a tag: ``resnet18.a1_in1k``."""

    kind: Literal["timm"]
    name: str
    pretrained: bool = False


class Custom(Section):
    """The user's own network: ``target`` is ``package.module:factory``, called with ``arguments``."""

    kind: Literal["custom"]
    target: str
    arguments: dict[str, Any] = {}


class Selection(Section):
    """An ensemble selected from a library of scikit-learn's models: no network, and a teacher only."""

    kind: Literal["selection"]
    library: Literal["small", "full"] = "full"
    metric: Literal["rmse", "cross_entropy", "accuracy"] = "rmse"
    steps: Annotated[int, Interval(0, 100_000)] = 100
    most_first: Count = 25
    bags: Annotated[int, Interval(1, 10_000)] = 20
    share: Share = 0.5


Model = Annotated[
    Mlp | Lenet | Cnn | CifarResnet | Wrn | Torchvision | Timm | Custom | Selection, Field(discriminator="kind")
]


def build_options(model: Model) -> dict[str, Any]:
    """The arguments of the network's builder in ``kdcli.models``."""
    match model:
        case Torchvision(name=name, pretrained=pretrained) | Timm(name=name, pretrained=pretrained):
            return {"architecture": name, "pretrained": pretrained}
        case Custom(target=target, arguments=arguments):
            return {**arguments, "target": target}
    return model.model_dump(exclude={"kind"})


def model_label(model: Model) -> str:
    """Name a network in results: ``mlp_800`` for two equal hidden layers, ``mlp_500x200`` otherwise."""
    match model:
        case Mlp(hidden=[first, second]) if first == second:
            return f"mlp_{first}"
        case Mlp(hidden=hidden):
            return "mlp_" + "x".join(map(str, hidden))
        case CifarResnet(depth=depth, widths=[_, _, _, last]):
            return f"resnet{depth}" + (f"x{last // 64}" if last > 64 else "")
        case Wrn(depth=depth, widen=widen):
            return f"wrn_{depth}_{widen}"
        case Torchvision(name=name) | Timm(name=name):
            return name
        case Custom(target=target):
            return target
    return model.kind
