"""Own networks, losses and data by the command line, which is trusted, and by files, which are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdcli.__main__ import main
from kdcli.commands.study_course import asks_for_code
from kdcli.rundir import RunDir
from kdcli.schema import DistillStudent, parse_config
from kdcli.schema.own_code import code_named
from kdcli.studies.form import StudyRun

SHAPES = """
import torch


def give(examples=60):
    labels = torch.arange(examples) % 2
    images = (labels * 200).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).to(torch.uint8)
    return {"classes": ["dark", "light"], "train": (images, labels), "test": (images, labels)}


def loss(student, teacher, temperature, factor=1.0):
    return factor * (student - teacher).square().mean()
"""
TINY = ("model=mlp", "model.hidden=[4]", "epochs=1", "batch_size=16", "device=cpu", "--progress=none", "--quiet")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with own code in ``own_shapes.py``, which is the current one."""
    (tmp_path / "own_shapes.py").write_text(SHAPES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_own_data_and_loss_train_and_only_trusted_files_name_them(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("dataset=custom", "dataset.target=own_shapes:give", "dataset.arguments={examples: 80}")
    assert main(["train-teacher", *TINY, *data]) == 0
    own = ("loss=custom", "loss.target=own_shapes:loss", "loss.arguments.factor=2")
    assert main(["distill-student", "teacher=latest", *TINY, *data, *own]) == 0
    (student,) = (here / "outputs" / "distill-student").iterdir()
    summary = RunDir.open(student).summary()
    assert (summary["loss"], summary["test"]["n"], summary["dataset"]) == ("own_shapes:loss", 80, "custom")
    for command in (
        ["evaluate", "run=latest", "latency=false", "device=cpu", "--quiet"],
        ["export", "latest", "--quiet"],
    ):
        capsys.readouterr()
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "own_shapes:give" in said
        assert "trust_code=true" in said
    assert main(["evaluate", "run=latest", "latency=false", "device=cpu", "--quiet", "trust_code=true"]) == 0
    capsys.readouterr()
    assert main(["export", "latest", "trust_code=true", "file=own.onnx"]) == 0
    (following,) = [line for line in capsys.readouterr().out.splitlines() if "kd evaluate" in line]
    assert following.endswith("trust_code=true"), "the data are own code still"
    config = parse_config("distill-student", RunDir.open(student).config())
    assert code_named(config) == "loss.target=own_shapes:loss"
    assert isinstance(config, DistillStudent)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("loss.target=own_shapes:nothing", "has no 'nothing'"),
        ("loss.target=own_shapes:give", "unexpected keyword|positional argument"),
        ("loss.target=no_such_module_here:loss", "there is no module"),
    ],
)
def test_a_wrong_loss_is_refused_before_a_directory_is_made(
    here: Path, tiny_teacher: RunDir, word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    line = ["distill-student", f"teacher={tiny_teacher.path}", *TINY, "transfer.fraction=0.01", "loss=custom", word]
    assert main(line) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (here / "outputs").exists()


def test_arguments_belong_to_own_code(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", *TINY, "model.arguments={width: 3}"]) == 2
    assert "model.arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "asks"),
    [
        ("model=custom", True),
        ("model.kind=custom", True),
        ("++loss.kind='custom'", True),
        ("dataset=custom", True),
        ("dataset.kind=${oc.decode:custo}m", True),
        ("loss={kind: custom, target: os:getcwd}", True),
        ("loss.target=os:getcwd", True),
        ("dataset=csv", False),
        ("dataset.target=species", False),
        ("model=mlp_30", False),
    ],
)
def test_a_study_that_names_code_is_known_by_its_overrides(override: str, asks: bool) -> None:
    part = StudyRun.model_validate({"command": "train-teacher", "overrides": [override]})
    assert bool(asks_for_code(part)) is asks
