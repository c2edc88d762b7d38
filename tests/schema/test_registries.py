"""The names in the schema are those that the rest of kd knows, and the other way round."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest

from kdcli.data import DATASET_NAMES
from kdcli.data.views import VIEW_NAMES
from kdcli.losses import LABELLED_SOFT_LOSSES, SOFT_LOSSES
from kdcli.losses import EnsembleMean as LossMean
from kdcli.models.registry import MODEL_NAMES
from kdcli.schema import COMMANDS, commands, data, method, model
from kdcli.schema.base import Section

SCHEMA_ALONE = """
import sys
import kdcli.schema
print([name for name in ("torch", "torchvision", "rich") if name in sys.modules])
"""


def kinds(union: Any) -> list[str]:
    """The options that a group has in the schema."""
    sections = get_args(get_args(union)[0])
    return [kind for section in sections for kind in get_args(section.model_fields["kind"].annotation)]


def test_models_are_those_of_the_registry() -> None:
    assert sorted(kinds(model.Model)) == sorted([*MODEL_NAMES, "selection"]), "which is no network"


def test_datasets_are_those_of_the_registry() -> None:
    assert sorted(kinds(data.Dataset)) == sorted(DATASET_NAMES)


def test_views_are_those_of_the_registry() -> None:
    assert get_args(data.DatasetSection.model_fields["views"].annotation) == VIEW_NAMES


def test_losses_are_those_of_the_registry_and_hard() -> None:
    assert set(get_args(method.Loss.model_fields["kind"].annotation)) == {*SOFT_LOSSES, *LABELLED_SOFT_LOSSES, "hard"}


def test_means_are_those_of_the_losses() -> None:
    assert get_args(commands.EnsembleMean) == get_args(LossMean)


def test_commands_are_those_with_a_configuration() -> None:
    known = ["distill-student", "evaluate", "import", "specialist", "train-specialists", "train-teacher"]
    assert sorted(COMMANDS) == known


def sections(found: type[Section] = Section) -> list[type[Section]]:
    below = [each for child in found.__subclasses__() for each in sections(child)]
    return [found, *below]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_section_is_closed_strict_and_frozen(section: type[Section]) -> None:
    config = section.model_config
    assert (config["extra"], config["strict"], config["frozen"], config["allow_inf_nan"]) == (
        "forbid", True, True, False,
    )  # fmt: skip


def test_the_schema_needs_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SCHEMA_ALONE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("section", "label"),
    [
        (model.Mlp(kind="mlp", hidden=[800, 800]), "mlp_800"),
        (model.Mlp(kind="mlp", hidden=[500, 200]), "mlp_500x200"),
        (model.Mlp(kind="mlp", hidden=[128]), "mlp_128"),
        (model.Lenet(kind="lenet"), "lenet"),
        (model.Cnn(kind="cnn", channels=[8]), "cnn"),
        (model.CifarResnet(kind="resnet_cifar", depth=20, widths=[16, 16, 32, 64]), "resnet20"),
        (model.CifarResnet(kind="resnet_cifar", depth=8, widths=[32, 64, 128, 256]), "resnet8x4"),
        (model.Wrn(kind="wrn", depth=16, widen=2), "wrn_16_2"),
        (model.Torchvision(kind="torchvision", name="resnet18"), "resnet18"),
        (model.Custom(kind="custom", target="nets:tiny"), "nets:tiny"),
        (model.Selection(kind="selection"), "selection"),
    ],
)
def test_networks_have_the_names_of_their_options(section: model.Model, label: str) -> None:
    assert model.model_label(section) == label


def test_options_of_a_builder_are_the_section_s_keys() -> None:
    assert model.build_options(model.Wrn(kind="wrn", depth=16, widen=2)) == {"depth": 16, "widen": 2}
    torchvision = model.Torchvision(kind="torchvision", name="resnet18", pretrained=True)
    assert model.build_options(torchvision) == {"architecture": "resnet18", "pretrained": True}
    custom = model.Custom(kind="custom", target="nets:tiny", arguments={"target": "other", "width": 3})
    assert model.build_options(custom) == {"target": "nets:tiny", "width": 3}
