"""``train-teacher`` through the program: what a run leaves, and whether its numbers are those of its weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdcli import checkpoint
from kdcli.data.mnist import mnist
from kdcli.data.source import TensorSource
from kdcli.errors import DivergedError, SweepError
from kdcli.program.rehearsal import rehearse_teacher
from kdcli.program.run import Manner
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir
from kdcli.trained import load_trained
from tests.program import reference, scripted

Train = Callable[..., RunDir]
TINY = ("transfer.fraction=0.02", "batch_size=32", "device=cpu", "model=mlp_30")
# A rate that grows until nothing is left: the first epoch is the best.
PAST_ITS_BEST = (
    "epochs=4",
    "optimizer.lr=0.5",
    "lr_schedule=one_cycle",
    "lr_schedule.warmup=0.999",
    "lr_schedule.start=0.01",
)
# From 0 to a rate at which weight decay alone makes the weights grow: the first epoch is well, the second is not.
DIVERGING = (
    "epochs=4", "optimizer=sgd", "optimizer.lr=20", "optimizer.weight_decay=1",
    "lr_schedule=one_cycle", "lr_schedule.warmup=0.999", "lr_schedule.start=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def train(configure: Callable[..., Any], manner: Manner, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Train a small network on a fiftieth of MNIST, or an ensemble of such."""
    outputs = tmp_path_factory.mktemp("teachers")

    def trained(*overrides: str, said: list[str] | None = None, smoke: bool = False) -> RunDir:
        config = configure("train-teacher", *TINY, f"output_dir={outputs}", *overrides)
        say = manner.say if said is None else said.append
        return train_teacher(config, dataclasses.replace(manner, say=say, smoke=smoke))

    return trained


@pytest.fixture(autouse=True)
def _nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted.FragileNet, "built", 0)


@pytest.fixture(scope="module")
def teacher(train: Train) -> RunDir:
    return train(*PAST_ITS_BEST)


@pytest.fixture(scope="module")
def ensemble(train: Train) -> RunDir:
    return train("members=2", "seed=3", "epochs=2")


def test_a_run_holds_exactly_the_files_of_the_design(teacher: RunDir) -> None:
    store = {"checkpoints/step-*", "checkpoints/last.json", "checkpoints/best.json"}
    assert reference.files(teacher.path) == reference.RECORDS | store
    assert checkpoint.verify(teacher.checkpoints) == []


def test_summary_has_the_keys_of_the_design_and_null_where_they_do_not_apply(teacher: RunDir) -> None:
    found = reference.summary(teacher.path)
    assert found.keys() == reference.SUMMARY_KEYS
    assert found["test"].keys() == found["val"].keys() == reference.TEST_KEYS
    nothing = ("temperature", "alpha", "teacher", "baseline", "members")
    assert [found[key] for key in nothing] == [None] * 5
    assert (found["test"]["agreement"], found["val"]["kl_to_teacher"]) == (None, None)
    described = {key: found[key] for key in ("schema", "command", "status", "model", "dataset", "seed", "loss")}
    assert described == {
        "schema": 1, "command": "train-teacher", "status": "finished", "model": "mlp_30", "dataset": "mnist",
        "seed": 0, "loss": "hard",
    }  # fmt: skip
    steps = -(-1080 // 32)
    assert (found["epochs"], found["steps"], found["run"]) == (4, 4 * steps, str(teacher.path))
    assert found["parameters"] == 784 * 30 + 30 + 30 * 30 + 30 + 30 * 10 + 10
    assert found["bytes"] == 4 * found["parameters"]
    assert found["seconds_per_10k"] > 0


def test_metrics_have_the_keys_of_the_design_one_line_an_epoch(teacher: RunDir) -> None:
    lines = reference.metrics(teacher.path)
    assert all(line.keys() == reference.METRIC_KEYS for line in lines)
    assert [(line["epoch"], line["step"]) for line in lines] == [(k, 34 * k) for k in range(1, 5)]
    assert {line[key] for line in lines for key in ("temperature", "alpha", "train/soft", "val/agreement")} == {None}
    assert all(line["train/loss"] == line["train/hard"] > 0 for line in lines)
    assert 0.005 < lines[0]["lr"] < lines[1]["lr"] < lines[2]["lr"] < 0.5


def test_the_environment_names_the_device_and_the_data(teacher: RunDir) -> None:
    found = json.loads((teacher.path / "environment.json").read_text())
    assert (found["device"], found["data_fingerprint"]) == ("cpu", mnist().fingerprint)
    assert found["versions"]["torch"] == torch.__version__


def test_numbers_are_those_of_the_selected_weights(teacher: RunDir) -> None:
    found, probs = reference.summary(teacher.path)["test"], reference.probabilities(teacher.path)
    assert found["n"] == 10_000
    assert found["errors"] == pytest.approx(reference.errors(probs), abs=1)
    assert found["top1"] == pytest.approx(1 - found["errors"] / 10_000)
    assert found["nll"] == pytest.approx(reference.nll(probs), abs=1e-5)
    squares = ((probs - np.eye(10)[reference.test_set()[1]]) ** 2).sum(axis=1).mean()
    assert found["brier"] == pytest.approx(squares, abs=1e-5)


def test_best_is_the_epoch_with_the_best_validation(teacher: RunDir) -> None:
    lines, found = reference.metrics(teacher.path), reference.summary(teacher.path)
    best = max(lines, key=lambda line: (line["val/top1"], -line["val/nll"], -line["epoch"]))
    assert best["epoch"] < 4, "a training whose best epoch is its last proves nothing"
    assert found["selected"] == {
        "checkpoint": reference.step_directory(teacher.path, "best").name, "epoch": best["epoch"], "by": "best",
    }  # fmt: skip
    assert (found["val"]["top1"], found["val"]["nll"]) == (best["val/top1"], best["val/nll"])
    assert reference.differences(reference.weights(teacher.path), reference.weights(teacher.path, "last")) > 0.01


def test_last_selects_the_last_epoch_of_the_same_training(train: Train, teacher: RunDir) -> None:
    run = train(*PAST_ITS_BEST, "select=last")
    found = reference.summary(run.path)
    assert (found["selected"]["epoch"], found["selected"]["by"]) == (4, "last")
    assert found["val"]["top1"] == reference.metrics(run.path)[-1]["val/top1"]
    assert found["test"]["nll"] == pytest.approx(reference.nll(reference.probabilities(run.path, "last")), abs=1e-5)
    assert reference.differences(reference.weights(run.path), reference.weights(teacher.path)) == 0


def test_the_test_set_is_read_once_after_the_selection(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int, set[str]]] = []
    gather = TensorSource.gather

    def spied(self: TensorSource, indices: Tensor) -> Tensor:
        if len(self) == 10_000:
            (run,) = (path.parent for path in tmp_path.rglob("run.json"))
            pointers = {path.name for path in (run / "checkpoints").glob("*.json")}
            read.append((len(indices), len(reference.metrics(run)), pointers))
        return gather(self, indices)

    monkeypatch.setattr(TensorSource, "gather", spied)
    train("epochs=2", f"output_dir={tmp_path}")
    assert sum(count for count, _, _ in read if count > 100) == 10_000, "the rest are the images of the report"
    assert all(lines == 2 and pointers == {"last.json", "best.json"} for _, lines, pointers in read)


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_network(train: Train) -> None:
    options = ("epochs=1", "model.dropout=0.2")
    first, again, other = train(*options), train(*options), train(*options, "seed=1")
    reference.same_training(first.path, again.path)
    assert reference.differences(reference.weights(first.path), reference.weights(other.path)) > 0.01


def test_the_order_of_the_batches_has_its_own_seed(train: Train) -> None:
    first, other = train("epochs=1"), train("epochs=1", "data_seed=1")
    assert reference.differences(reference.weights(first.path), reference.weights(other.path)) > 0


def test_a_smoke_run_is_marked_and_records_what_was_run(train: Train) -> None:
    run = train("epochs=20", "early_stopping=5", smoke=True)
    found = reference.summary(run.path)
    assert run.record.smoke
    assert (run.config()["epochs"], run.config()["early_stopping"]) == (1, None)
    assert (found["epochs"], found["steps"], found["test"]["n"], found["val"]["n"]) == (1, 2, 512, 512)


def test_divergence_says_where_and_leaves_the_checkpoints_before_it_whole(train: Train, tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as caught:
        train(*DIVERGING, f"output_dir={tmp_path}")
    (run,) = map(RunDir.open, tmp_path.glob("train-teacher/*"))
    lines = reference.metrics(run.path)
    assert 1 <= len(lines) < 4
    assert f"diverged in epoch {len(lines) + 1}, step " in caught.value.what
    for term in ("lr ", "total ", "hard "):
        assert term in caught.value.what
    assert (caught.value.exit_code, caught.value.where) == (5, str(run.path))
    assert run.record.status == "diverged"
    assert run.record.error is not None
    assert (run.record.error.code, run.record.error.what) == (5, caught.value.what)
    assert not (run.path / "summary.json").exists()
    assert checkpoint.verify(run.checkpoints) == []
    for name in ("best", "last"):
        assert all(np.isfinite(tensor).all() for tensor in reference.weights(run.path, name).values())


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (("optimizer=sgd", "optimizer.lr=50", "optimizer.weight_decay=1", "lr_schedule=constant"), "lr 50, total "),
        (("model.init_std=1e30",), "total nan, hard nan"),
    ],
)
def test_divergence_in_the_first_epoch_is_no_bug(train: Train, overrides: tuple[str, ...], what: str) -> None:
    with pytest.raises(DivergedError, match="diverged in epoch 1, step") as caught:
        train("epochs=2", *overrides)
    assert what in caught.value.what


def test_resuming_a_diverged_run_says_again_that_it_diverged(
    train: Train, configure: Callable[..., Any], manner: Manner, tmp_path: Path
) -> None:
    with pytest.raises(DivergedError) as first:
        train(*DIVERGING, f"output_dir={tmp_path}")
    (run,) = map(RunDir.open, tmp_path.glob("train-teacher/*"))
    config = configure("train-teacher", *TINY, *DIVERGING, f"output_dir={tmp_path}")
    with pytest.raises(DivergedError) as second:
        train_teacher(config, manner, run)
    assert second.value.what == first.value.what


def test_an_ensemble_holds_its_members_and_no_cohort(ensemble: RunDir) -> None:
    own = reference.RECORDS | {"checkpoints/step-*", "checkpoints/last.json", "checkpoints/best.json"}
    members = {f"members/{k:02d}/{name}" for k in range(2) for name in own}
    assert reference.files(ensemble.path) == members | (reference.RECORDS - {"metrics.jsonl"})
    assert not (ensemble.path / "cohort").exists()
    for member in sorted((ensemble.path / "members").iterdir()):
        assert reference.status(member) == "finished"
        assert checkpoint.verify(member / "checkpoints") == []


def test_a_member_is_its_own_single_run(train: Train, ensemble: RunDir) -> None:
    for k in range(2):
        alone = train(f"seed={1000 * 3 + k}", "epochs=2")
        member = ensemble.path / "members" / f"{k:02d}"
        assert reference.differences(reference.weights(member), reference.weights(alone.path)) < 1e-4
        first, second = reference.summary(member), reference.summary(alone.path)
        assert (first["seed"], first["model"], first["steps"]) == (second["seed"], second["model"], second["steps"])
        assert first["test"]["nll"] == pytest.approx(second["test"]["nll"], abs=1e-4)


def test_a_member_can_be_loaded_alone(ensemble: RunDir) -> None:
    member = RunDir.open(ensemble.path / "members" / "01")
    trained = load_trained(member, torch.device("cpu"), trust_code=False)
    raw = mnist().test.inputs[:100]
    ours = trained.network(trained.normalization(raw)).softmax(1).detach().numpy()
    assert np.abs(ours - reference.probabilities(member.path)[:100]).max() < 1e-5


def test_the_summary_of_an_ensemble_is_of_its_mean_distribution(ensemble: RunDir) -> None:
    found = reference.summary(ensemble.path)
    assert found.keys() == reference.SUMMARY_KEYS
    mean = np.mean([reference.probabilities(ensemble.path / f"members/0{k}") for k in range(2)], axis=0)
    assert found["test"]["errors"] == pytest.approx(reference.errors(mean), abs=1)
    assert found["test"]["nll"] == pytest.approx(reference.nll(mean), abs=1e-5)
    assert (found["parameters"], found["bytes"]) == (2 * 24_790, 8 * 24_790)
    assert [member["seed"] for member in found["members"]] == [3000, 3001]
    alone = [reference.summary(Path(member["run"]))["test"] for member in found["members"]]
    assert [member["test"] for member in found["members"]] == alone
    assert (found["seed"], found["selected"], found["val"]) == (3, None, None)


def test_a_member_that_diverges_does_not_touch_the_others(train: Train, tmp_path: Path) -> None:
    fragile = (
        "model=custom", "model.target=tests.program.scripted:FragileNet", "transfer.fraction=0.01", "epochs=3",
        "dataset.val_fraction=0.02", "seed=1",
    )  # fmt: skip
    with pytest.raises(SweepError, match="1 of 2 members diverged") as caught:
        train("members=2", *fragile, f"output_dir={tmp_path}")
    (run,) = map(RunDir.open, tmp_path.glob("train-teacher/*"))
    first, second = (run.path / "members" / name for name in ("00", "01"))
    assert (caught.value.exit_code, run.record.status) == (7, "failed")
    assert str(first) in str(caught.value.fix)
    assert (reference.status(first), reference.status(second)) == ("finished", "diverged")
    assert (len(reference.metrics(first)), len(reference.metrics(second))) == (3, 1)
    assert not (run.path / "cohort").exists()
    assert [checkpoint.verify(path / "checkpoints") for path in (first, second)] == [[], []]
    assert reference.step_directory(second, "last") == reference.step_directory(second, "best")
    scripted.FragileNet.built = 0  # one more was built to see what it costs
    alone = train("seed=1000", *fragile[:-1])
    assert reference.differences(reference.weights(first), reference.weights(alone.path)) < 1e-6


def test_a_dry_run_tries_one_batch_and_writes_nothing(
    configure: Callable[..., Any], manner: Manner, tmp_path: Path
) -> None:
    config = configure("train-teacher", *TINY, "members=2", "epochs=3", f"output_dir={tmp_path / 'outputs'}")
    plan = rehearse_teacher(config, manner).text()
    assert list(tmp_path.iterdir()) == []
    for expected in (
        "member 1  mlp_30, 24,790 parameters", "1,080 of 54,000 training examples", "3 epochs of 34 steps",
        "102 steps in all", f"{tmp_path}/outputs/train-teacher",
    ):  # fmt: skip
        assert expected in plan
    hopeless = configure("train-teacher", *TINY, "model.hidden=[5000]", "model.init_std=1e30", f"output_dir={tmp_path}")
    with pytest.raises(DivergedError, match="very first batch"):
        rehearse_teacher(hopeless, manner)


def test_a_dry_run_counts_each_members_own_part(configure: Callable[..., Any], manner: Manner, tmp_path: Path) -> None:
    parts = ("members=3", "members_data=parts", "epochs=2", f"output_dir={tmp_path}")
    plan = rehearse_teacher(configure("train-teacher", *TINY, *parts), manner).text()
    assert "360 of 54,000 training examples" in plan
    assert "2 epochs of 12 steps" in plan


def test_members_that_teach_each_other_have_both_terms_and_a_common_summary(train: Train, ensemble: RunDir) -> None:
    run = train("members=2", "seed=3", "epochs=2", "loss=mutual", "alpha.value=0.5", "temperature.value=1")
    found = reference.summary(run.path)
    assert (found["loss"], found["temperature"], found["alpha"]) == ("mutual", 1.0, 0.5)
    assert [member["seed"] for member in found["members"]] == [3000, 3001]
    for k in range(2):
        lines = reference.metrics(run.path / f"members/0{k}")
        assert all(0 < line["train/soft"] < line["train/hard"] for line in lines)
        mixed = [(line["train/hard"] + line["train/soft"]) / 2 for line in lines]
        assert [line["train/loss"] for line in lines] == pytest.approx(mixed, rel=1e-5)
        alone = reference.weights(ensemble.path / f"members/0{k}")
        assert reference.differences(reference.weights(run.path / f"members/0{k}"), alone) > 0
