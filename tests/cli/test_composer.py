"""The jobs of a sweep are composed as Hydra would compose each, though Hydra composes only what differs in choices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from kdcli.commands.composer import Composer
from kdcli.commands.hydra_app import prepare
from kdcli.errors import UsageError

pytestmark = pytest.mark.xdist_group("composer")

CONF = Path(__file__).parents[2] / "conf"
JOBS = [
    ["temperature=1", "alpha=0.1"],
    ["temperature=.25", "alpha=1e-1"],
    ["temperature=cosine", "temperature.start=9.5", "alpha=0.5"],
    ["temperature=4", "temperature.value=6", "alpha=0.5"],
    ["temperature=-1", "alpha=nan"],
    ["model=mlp", "model.hidden=[20,10]", "seed=3"],
    ["model=mlp", "model.hidden=[]", "model.max_norm_squared=null", "early_stopping=5"],
    ["transfer.omit=[3]", "transfer.fraction=0.5", "dataset.views=shift"],
    ["+loss.extra={a:[1,2],b:null}", "~loss.label_smoothing"],
    ["seed=1", "++epochs=3", "output_dir='a, b=${seed}'"],
    ["recipe=hinton2012", "temperature=2", "optimizer.lr=0.5"],
    ["epochs='${batch_size}'", "batch_size=32"],
    ["output_dir='out/${hydra:runtime.choices.temperature}/${hydra:job.num}'", "temperature=5"],
]


class _Counting:
    """Hydra's loader, and how often it composed."""

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self.composed = 0

    def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> DictConfig:
        self.composed += 1
        return self._loader.load_sweep_config(master, overrides)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _Sweep:
    """Hydra, ready to compose the jobs of a sweep of one command."""

    def __init__(self, command: str, *directories: Path) -> None:
        prepare()
        path = create_config_search_path(str(CONF))
        for directory in directories:
            path.prepend("command-line", f"file://{directory}")
        hydra = Hydra.create_main_hydra2("kd", path)
        self.master = hydra.compose_config(command, [], run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        self.loader = _Counting(hydra.config_loader)
        self.composer = Composer(self.loader, self.master)  # type: ignore[arg-type]

    def by_hydra(self, index: int, overrides: list[str]) -> tuple[Any, dict[str, Any]]:
        config = self.loader._loader.load_sweep_config(self.master, overrides)
        with open_dict(config), read_write(config):
            config.hydra.job.num = index
            config.hydra.job.id = str(index)
            HydraConfig.instance().set_config(config)
            choices = {key: value for key, value in config.hydra.runtime.choices.items() if "hydra" not in key}
            del config["hydra"]
        return OmegaConf.to_container(config, resolve=True), choices


@pytest.fixture
def hydra_is_cleared() -> Iterator[None]:
    version.setbase("1.3")
    yield
    GlobalHydra.instance().clear()


@pytest.fixture
def sweep(hydra_is_cleared: None) -> _Sweep:
    return _Sweep("train_teacher")


def test_each_job_equals_hydra_s_own_composition(sweep: _Sweep) -> None:
    for index, overrides in enumerate(JOBS):
        data, choices = sweep.by_hydra(index, overrides)
        composed = sweep.composer.compose(index, overrides)
        assert repr(composed.data) == repr(data), overrides
        assert composed.choices == choices, overrides


def test_a_grid_of_numbers_is_composed_once(sweep: _Sweep) -> None:
    for index, number in enumerate([1, 2, 4, 8]):
        for weight in (0.1, 0.5, 0.9):
            composed = sweep.composer.compose(index, [f"temperature={number}", f"alpha={weight}", "seed=1"])
            assert (composed.data["temperature"]["value"], composed.data["alpha"]["value"]) == (number, weight)
    assert sweep.loader.composed == 1


def test_each_distinct_set_of_choices_is_composed_once(sweep: _Sweep) -> None:
    for temperature in ("1", "2.5", "cosine", "linear"):
        for model in ("mlp_30", "mlp_100"):
            for seed in (0, 1):
                sweep.composer.compose(0, [f"model={model}", f"temperature={temperature}", f"seed={seed}"])
    assert sweep.loader.composed == 2 * 3


def test_a_recipe_that_sets_the_temperature_wins_over_the_number(tmp_path: Path, hydra_is_cleared: None) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "warm.yaml").write_text("# @package _global_\ntemperature:\n  value: 9.0\n")
    (tmp_path / "recipe" / "linked.yaml").write_text("# @package _global_\ntemperature:\n  value: ${alpha.value}\n")
    sweep = _Sweep("train_teacher", tmp_path)
    for overrides in (["recipe=warm", "temperature=2", "alpha=0.5"], ["recipe=linked", "temperature=2", "alpha=0.5"]):
        assert sweep.composer.compose(0, overrides).data == sweep.by_hydra(0, overrides)[0]


def test_a_choice_that_follows_the_number_is_composed_for_each(tmp_path: Path, hydra_is_cleared: None) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "2.yaml").write_text("# @package _global_\nepochs: 99\n")
    (tmp_path / "follows.yaml").write_text(
        "defaults:\n  - train_teacher\n  - optional extra: ${temperature}\n  - _self_\n"
    )
    sweep = _Sweep("follows", tmp_path)
    for overrides in (["temperature=2"], ["temperature=3"]):
        assert sweep.composer.compose(0, overrides).data == sweep.by_hydra(0, overrides)[0]


def test_a_job_that_hydra_refuses_is_refused_with_its_own_number(sweep: _Sweep) -> None:
    with pytest.raises(Exception, match="nope") as refused:
        sweep.composer.compose(0, ["model=nope", "temperature=2"])
    assert "e-77" not in str(refused.value)


def test_a_missing_value_is_a_usage_error(hydra_is_cleared: None) -> None:
    with pytest.raises(UsageError, match="teacher must be given"):
        _Sweep("distill_student").composer.compose(0, ["temperature=2"])
