"""What runs leave for their reports: from the very answers that their summaries are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kdcli.commands.reporting import write_report
from kdcli.errors import CheckpointError
from kdcli.program.findings import Answered, examine
from kdcli.program.gallery import galleries, pictures
from kdcli.program.run import Manner
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir
from kdcli.schema import Config, TrainTeacher
from kdcli.schema.findings import Findings

Configure = Callable[..., Config]
FIGURES = ("confusion", "curves", "disagree", "reliability", "soft-targets", "wrong")


def findings(run: RunDir) -> Findings:
    return Findings.model_validate(json.loads((run.path / "findings.json").read_text()))


def test_a_student_leaves_what_it_its_baseline_and_its_teacher_said(tiny_student: RunDir) -> None:
    found, summary = findings(tiny_student), tiny_student.summary()
    assert [each.name for each in found.networks] == ["student", "baseline", "teacher"]
    measured = [summary["test"], summary["baseline"]["test"], summary["teacher"]["test"]]
    assert [each.test.errors for each in found.networks] == [each["errors"] for each in measured]
    for network in found.networks:
        assert network.confusion is not None
        right = sum(network.confusion[k][k] for k in range(10))
        assert sum(map(sum, network.confusion)) - right == network.test.errors
        assert sum(each.count for each in network.reliability) == 10_000
        assert network.scaled is not None
        assert network.scaled.temperature > 0
    assert found.networks[0].val_top1 == summary["val"]["top1"]


def test_the_pictures_are_those_of_the_test_set(tiny_student: RunDir) -> None:
    from kdcli.data import load

    found, test = findings(tiny_student), load("mnist", {}).test
    assert found.pictures is not None
    pixels = found.pictures.pixels()
    assert pixels is not None
    examples = [example for part in found.galleries for example in part.examples]
    assert {example.index for example in examples} <= set(pixels)
    assert isinstance(test.inputs, torch.Tensor)
    for example in examples:
        assert example.label == int(test.labels[example.index])
        assert pixels[example.index] == test.inputs[example.index].numpy().tobytes()


def test_soft_targets_are_distributions_that_grow_softer(tiny_student: RunDir) -> None:
    for target in findings(tiny_student).soft_targets:
        assert [soft.temperature for soft in target.softened] == [1, 4, 20]
        assert all(sum(soft.probabilities) == pytest.approx(1, abs=1e-6) for soft in target.softened)
        peaks = [max(soft.probabilities) for soft in target.softened]
        assert peaks == sorted(peaks, reverse=True)


def test_the_galleries_are_those_examples_and_no_others() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1])
    student = torch.eye(3)[torch.tensor([0, 2, 2, 1, 1])] * torch.tensor([9.0, 2, 9, 5, 9])[:, None]
    teacher = torch.eye(3)[torch.tensor([0, 1, 2, 2, 0])] * 6
    disagree, wrong = galleries([("student", student), ("teacher", teacher)], labels)
    assert (disagree.kind, disagree.total) == ("disagree", 3)
    assert [example.index for example in disagree.examples] == [4, 3, 1], "the surest first"
    assert (wrong.kind, [example.index for example in wrong.examples]) == ("wrong", [3])
    assert wrong.examples[0].answers["student"].prediction == 1
    (alone,) = galleries([("network", student)], labels)
    assert [example.index for example in alone.examples] == [3, 1]


def test_large_pictures_are_made_small() -> None:
    class Halves:
        def gather(self, places: torch.Tensor) -> torch.Tensor:
            images = torch.zeros(len(places), 3, 100, 200, dtype=torch.uint8)
            images[..., 100:] = 200
            return images

    found = pictures([3, 5], Halves())  # type: ignore[arg-type]
    assert found is not None
    assert (found.height, found.width) == (32, 64)
    pixels = found.pixels()
    assert pixels is not None
    assert list(pixels) == [3, 5]
    assert (pixels[3][0], pixels[3][63]) == (0, 200)


def test_the_report_shows_all_of_it_and_its_figures_have_numbers(tiny_student: RunDir) -> None:
    text = write_report(tiny_student).read_text()
    for title in ("Size and speed", "Which classes are confused", "can be trusted", "disagree", "Where both are wrong"):
        assert title in text
    for name in FIGURES:
        for suffix in ("png", "svg", "csv"):
            assert (tiny_student.path / "figures" / f"{name}.{suffix}").stat().st_size > 0
    assert len(text) < 5 * 2**20


def test_a_network_alone_and_an_ensemble_have_findings_too(
    tmp_path: Path, configure: Configure, manner: Manner
) -> None:
    tiny = ("transfer.fraction=0.01", "epochs=1", "batch_size=32", "device=cpu", "model=mlp", "model.hidden=[8]")
    config = configure("train-teacher", "members=2", f"output_dir={tmp_path}", *tiny)
    assert isinstance(config, TrainTeacher)
    run = train_teacher(config, manner)
    for each, cost in ((run, 2), (RunDir.open(run.path / "members/01"), 1)):
        (network,) = findings(each).networks
        assert network.test.errors == each.summary()["test"]["errors"]
        assert network.cost.parameters == cost * (784 * 8 + 8 + 80 + 10)
        assert "What it gets wrong" in write_report(each).read_text()


@pytest.mark.parametrize("damage", ['{"schema": 1}', "[]", "{", "class", "picture"])
def test_damaged_findings_are_refused_as_such_or_shown_without_pictures(
    tiny_student: RunDir, tmp_path: Path, damage: str
) -> None:
    import shutil

    run = RunDir.open(Path(shutil.copytree(tiny_student.path, tmp_path / "run")))
    path = run.path / "findings.json"
    if damage == "picture":
        content = json.loads(path.read_text())
        content["pictures"]["data"] = content["pictures"]["data"][:-8]
        path.write_text(json.dumps(content))
        assert "Where both are wrong" in write_report(run).read_text()
        return
    if damage == "class":
        content = json.loads(path.read_text())
        content["galleries"][0]["examples"][0]["label"] = 10
        damage = json.dumps(content)
    path.write_text(damage)
    with pytest.raises(CheckpointError, match="findings|JSON|class|keys|missing") as caught:
        write_report(run)
    assert str(path) in str(caught.value.where)


def test_rows_of_a_table_are_listed(tmp_path: Path, configure: Configure, manner: Manner) -> None:
    tiny = ("dataset=letter", "epochs=1", "device=cpu", "model=mlp", "model.hidden=[8]", "transfer.fraction=0.1")
    config = configure("train-teacher", f"output_dir={tmp_path}", *tiny)
    assert isinstance(config, TrainTeacher)
    run = train_teacher(config, manner)
    assert findings(run).pictures is None
    text = write_report(run).read_text()
    assert "What it gets wrong" in text
    assert "taken for" in text
    assert (run.path / "figures/soft-targets.svg").exists()


def test_without_validation_no_temperature_is_fitted(tiny_student: RunDir) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(100, 10), torch.randint(10, (100,))
    cost = findings(tiny_student).networks[0].cost
    found = examine("network", "mlp", cost, Answered(logits, None, None), labels).found
    assert (found.scaled, found.val_top1) == (None, None)
