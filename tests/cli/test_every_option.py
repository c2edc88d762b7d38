"""Every option of every group in ``conf/`` composes and passes the schema; ``model=selection`` is for teachers only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from kdcli.commands.composer import Composer
from kdcli.commands.conf_files import options, scan
from kdcli.commands.hydra_app import prepare
from kdcli.schema import parse_config

pytestmark = pytest.mark.xdist_group("every option")

CONF = Path(__file__).parents[2] / "conf"
PRIMARY = scan(CONF / "distill_student.yaml")
# What an option cannot guess, and what its neighbours must agree with.
NEEDS = {
    ("dataset", "csv"): ["dataset.path=here.csv", "dataset.target=species"],
    ("dataset", "imagefolder"): ["dataset.root=here"],
    ("model", "torchvision"): ["model.name=resnet18"],
    ("dataset", "custom"): ["dataset.target=package.module:function"],
    ("loss", "custom"): ["loss.target=package.module:function"],
    ("model", "custom"): ["model.target=package.module:factory"],
    **{("transfer", kind): ["alpha=1"] for kind in ("munge", "nbe", "random")},
    ("model", "timm"): ["model.name=resnet18"],
}


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    version.setbase("1.3")
    prepare()
    hydra = Hydra.create_main_hydra2("kd", create_config_search_path(str(CONF)))
    given = ["teacher=latest"]
    master = hydra.compose_config("distill_student", given, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
    yield Composer(hydra.config_loader, master)
    GlobalHydra.instance().clear()


@pytest.mark.parametrize(
    ("group", "option"),
    [(group, option) for group in PRIMARY.choices for option in options(group) if option != "selection"],
)
def test_option_composes_and_passes_the_schema(composer: Composer, group: str, option: str) -> None:
    overrides = ["teacher=latest", f"{group}={option}", *NEEDS.get((group, option), [])]
    composed = composer.compose(0, overrides)
    assert composed.choices[group] == option
    if option != "mutual":  # of networks without a teacher
        parse_config("distill-student", composed.data)


def test_every_directory_of_conf_is_a_group_of_the_training_commands_or_the_studies() -> None:
    directories = {path.name for path in CONF.iterdir() if path.is_dir()} - {"study", "hydra"}
    assert directories == set(PRIMARY.choices) == set(scan(CONF / "train_teacher.yaml").choices)
