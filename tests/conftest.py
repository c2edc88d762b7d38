"""Real but tiny trainings on MNIST, for every test that needs a run to start from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kdcli.commands.conf_files import conf_dir
from kdcli.rundir import RunDir
from kdcli.schema import Config, parse_config

if TYPE_CHECKING:
    from kdcli.program.run import Manner

# The workers of a test run share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Figures take longer than all the rest of a tiny training; what is about reports asks for them.
os.environ.setdefault("KD_NO_REPORT", "1")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Some versions of pytest and xdist ignore the groups in silence, and tests that must not meet do."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        for item in items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise pytest.UsageError(
                    f"xdist does not group {item.nodeid}: pip install -c constraints.txt -e '.[test]'"
                )


@pytest.fixture(autouse=True)
def _as_a_new_process() -> None:
    """A training makes its process take the smallest numbers for zero, which hypothesis objects to."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


Configure = Callable[..., Config]
TINY = ("transfer.fraction=0.02", "epochs=1", "batch_size=32", "optimizer.lr=0.01", "device=cpu")


@pytest.fixture(scope="session")
def configure() -> Configure:
    """The typed configuration of a command with overrides: ``configure("train-teacher", "epochs=1")``."""

    def configured(command: str, *overrides: str) -> Config:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = compose(command.replace("-", "_"), list(overrides))
        data = OmegaConf.to_container(composed, resolve=True)
        assert isinstance(data, dict)
        return parse_config(command, {str(key): value for key, value in data.items()})

    return configured


@pytest.fixture(scope="session")
def manner() -> Manner:
    """A manner that shows nothing."""
    from kdcli.program.run import Manner
    from kdcli.report.display import SilentDisplay

    return Manner(["kd"], [], smoke=False, display=lambda *_: SilentDisplay(), say=lambda line: None)


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory, configure: Configure, manner: Manner) -> RunDir:
    """A finished train-teacher; shared, so copy it before you change anything in it."""
    from kdcli.program.teacher import train_teacher
    from kdcli.schema import TrainTeacher

    outputs = tmp_path_factory.mktemp("tiny") / "outputs"
    config = configure("train-teacher", "model=mlp_30", f"output_dir={outputs}", *TINY)
    assert isinstance(config, TrainTeacher)
    return train_teacher(config, manner)


@pytest.fixture(scope="session")
def tiny_student(tiny_teacher: RunDir, configure: Configure, manner: Manner) -> RunDir:
    """A finished distill-student of ``tiny_teacher``, with its baseline and in the same outputs; shared like it."""
    from kdcli.program.student import distill_student
    from kdcli.schema import DistillStudent

    outputs = Path(*tiny_teacher.path.parts[:-2])
    model = ("model=mlp", "model.hidden=[20]")
    config = configure(
        "distill-student", f"teacher={tiny_teacher.path}", f"output_dir={outputs}", "seed=1", *model, *TINY
    )
    assert isinstance(config, DistillStudent)
    return distill_student(config, [tiny_teacher], manner)
