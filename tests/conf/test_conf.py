"""Every option of every group composes for both training commands and passes the schema, and so do the recipes.

Options are composed in rows, one of each group at a time, so that a row more costs a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from kdcli.errors import UsageError
from kdcli.schema import parse_config
from kdcli.schema.model import Model, model_label

pytestmark = pytest.mark.xdist_group("conf")

CONF = Path(__file__).parents[2] / "conf"
COMMANDS = ("train-teacher", "distill-student")
# What an option cannot guess.
NEEDS = {
    "dataset=csv": ["dataset.path=here.csv", "dataset.target=species"],
    "dataset=imagefolder": ["dataset.root=here"],
    "model=torchvision": ["model.name=resnet18"],
    "dataset=custom": ["dataset.target=package.module:function"],
    "loss=custom": ["loss.target=package.module:function"],
    "model=custom": ["model.target=package.module:factory"],
    **{f"transfer={kind}": ["alpha.value=1"] for kind in ("munge", "nbe", "random")},
    "model=timm": ["model.name=resnet18"],
}
GIVEN = {key.split("=")[0] + "." + need.split(".")[1].split("=")[0] for key, needs in NEEDS.items() for need in needs}
NEEDS["model=selection"] = ["dataset=letter_p1"]  # its row has no dataset of its own
UNUSED = {"view_pixels"}  # a table has no pixels

Composed = Callable[..., dict[str, Any]]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def groups(command: str) -> list[str]:
    primary = yaml.safe_load((CONF / f"{command.replace('-', '_')}.yaml").read_text(encoding="utf-8"))
    return [next(iter(entry)) for entry in primary["defaults"] if isinstance(entry, dict)]


def content(group: str, option: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CONF / group / f"{option}.yaml").read_text(encoding="utf-8")) or {})


def rows(command: str) -> list[dict[str, str]]:
    """Each option once; a teacher has but one loss and needs labels, peers are no teacher, a student is a network, and
    a recipe chooses for other groups.
    """
    table = {group: options(group) for group in groups(command)}
    del table["recipe"]
    synthetic = [{"transfer": option} for option in table["transfer"] if option != "training_set"]
    table["transfer"] = ["training_set"]
    table["loss"] = ["hard"] if command == "train-teacher" else sorted({*table["loss"]} - {"mutual"})
    if command == "train-teacher":
        synthetic = []
    else:
        table["model"].remove("selection")
    columns = zip_longest(*table.values())
    return [*({g: o for g, o in zip(table, row, strict=True) if o} for row in columns), *synthetic]


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    """What Hydra makes of a command and its overrides."""

    def plain(command: str, *overrides: str) -> dict[str, Any]:
        given = ["teacher=latest"] if command == "distill-student" else []
        data = OmegaConf.to_container(compose(command.replace("-", "_"), [*given, *overrides]), resolve=True)
        assert isinstance(data, dict)
        return {str(key): value for key, value in data.items()}

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield plain


CASES = [(command, row) for command in COMMANDS for row in rows(command)]


@pytest.mark.parametrize(("command", "row"), CASES, ids=[" ".join([c, *r.values()]) for c, r in CASES])
def test_every_option_composes_and_passes_the_schema(composed: Composed, command: str, row: dict[str, str]) -> None:
    chosen = [f"{group}={option}" for group, option in row.items()]
    data = composed(command, *chosen, *(need for choice in chosen for need in NEEDS.get(choice, [])))
    config = parse_config(command, data)
    for group, option in row.items():
        written = content(group, option)
        typed = getattr(config, group).model_dump()
        for key, value in written.items():
            assert data[group][key] == typed[key]
            assert typed[key] == value or f"{group}.{key}" in GIVEN
        assert typed.keys() - written.keys() <= UNUSED, "a key that nobody who reads the YAML would know of"


def test_the_rows_hold_every_option() -> None:
    for command in COMMANDS:
        seen = {(group, option) for row in rows(command) for group, option in row.items()}
        wanted = {(group, option) for group in groups(command) for option in options(group)}
        left = {option for _, option in wanted - seen}
        assert left - {*options("loss"), "munge", "nbe", "random", "selection"} == set(options("recipe"))


def test_every_directory_is_a_group_of_both_commands() -> None:
    directories = {path.name for path in CONF.iterdir() if path.is_dir()} - {"study", "hydra"}
    assert directories == set(groups("train-teacher")) == set(groups("distill-student"))


def test_a_teacher_composes_with_a_soft_loss_and_is_refused_by_the_schema(composed: Composed) -> None:
    for loss in set(options("loss")) - {"hard", "mutual"}:
        data = composed("train-teacher", f"loss={loss}")
        with pytest.raises(UsageError, match=f"loss={loss} needs a teacher"):
            parse_config("train-teacher", data)


def test_a_teacher_s_members_can_teach_each_other(composed: Composed) -> None:
    config = parse_config("train-teacher", composed("train-teacher", "loss=mutual", "members=2"))
    assert config.loss.model_dump() == content("loss", "mutual")


@pytest.mark.parametrize("recipe", options("recipe"))
@pytest.mark.parametrize("command", COMMANDS)
def test_every_recipe_composes_and_passes_the_schema(composed: Composed, command: str, recipe: str) -> None:
    data = composed(command, f"recipe={recipe}")
    config = parse_config(command, data)
    for key, value in content("recipe", recipe).items():
        if isinstance(value, dict):
            assert value.items() <= getattr(config, key).model_dump().items()
        elif key != "defaults":
            assert getattr(config, key) == value


def test_a_recipe_gives_way_to_the_command_line(composed: Composed) -> None:
    data = composed("train-teacher", "recipe=hinton2012", "batch_size=77", "model.dropout=0.4", "optimizer.lr=1.0")
    assert (data["batch_size"], data["model"]["dropout"], data["optimizer"]["lr"]) == (77, 0.4, 1.0)
    assert data["model"]["input_dropout"] == 0.2


def test_the_recipe_of_2012_is_that_of_the_paper(composed: Composed) -> None:
    """Hinton et al. 2012, arXiv:1207.0580, appendix A.1."""
    data = composed("train-teacher", "recipe=hinton2012")
    model, optimizer = data["model"], data["optimizer"]
    assert (model["dropout"], model["input_dropout"], model["max_norm_squared"], model["init_std"]) == (
        0.5, 0.2, 15.0, 0.01,
    )  # fmt: skip
    assert optimizer == {"kind": "momentum_ramp", "lr": 10.0, "start": 0.5, "end": 0.99, "ramp_epochs": 500}
    assert data["lr_schedule"] == {"kind": "exponential", "gamma": 0.998}
    assert data["batch_size"] == 100


NAMED = [name for name in options("model") if name not in {"mlp", "mlp_shallow", "torchvision", "timm", "custom"}]


@pytest.mark.parametrize("name", NAMED)
def test_a_network_is_what_its_option_is_called(name: str) -> None:
    section: Any = TypeAdapter(Model).validate_python(content("model", name))
    assert model_label(section) == name


def test_the_papers_networks_have_two_equal_hidden_layers_and_no_dropout() -> None:
    for name in ("mlp_1200", "mlp_800", "mlp_300", "mlp_100", "mlp_30"):
        units = int(name.removeprefix("mlp_"))
        assert content("model", name) == content("model", "mlp") | {"hidden": [units, units]}
        assert content("model", name)["dropout"] == content("model", name)["input_dropout"] == 0.0
    assert len(content("model", "mlp_shallow")["hidden"]) == 1


def test_defaults_are_those_of_the_contract(composed: Composed) -> None:
    for command in COMMANDS:
        data = composed(command)
        assert (data["select"], data["dataset"]["val_fraction"], data["dataset"]["val_seed"]) == ("best", 0.1, 0)
        assert data["dataset"]["kind"] == "mnist"
    assert composed("distill-student")["baseline"] is True


def test_commands_differ_in_their_own_keys_alone(composed: Composed) -> None:
    """One YAML serves both."""
    teacher, student = (composed(command) for command in COMMANDS)
    assert teacher.keys() - student.keys() == {"members", "members_data"}
    assert {"teacher", "ensemble", "baseline"} <= student.keys() - teacher.keys()
