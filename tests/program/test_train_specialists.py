"""``train-specialists`` through the program: what a run leaves, its numbers, its end after an interruption."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdcli.commands.audit import audit_run
from kdcli.errors import CheckpointError, DivergedError, Interrupted, SweepError, UsageError
from kdcli.program.run import Manner
from kdcli.program.slots import home_of
from kdcli.program.specialists import open_faculty, train_specialists
from kdcli.program.teacher import train_teacher
from kdcli.rundir import RunDir, resolve_run
from kdcli.schema.results import Summary
from tests.program import reference, scripted
from tests.program.conftest import Bench

Train = Callable[..., RunDir]
TINY = (
    "transfer.fraction=0.02", "batch_size=32", "device=cpu", "epochs=2", "optimizer.lr=0.005",
    "specialists.count=3", "specialists.temperature=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def train(
    configure: Callable[..., Any], manner: Manner, tiny_teacher: RunDir, tmp_path_factory: pytest.TempPathFactory
) -> Train:
    """Train three specialists beside ``tiny_teacher`` on a fiftieth of MNIST."""
    outputs = tmp_path_factory.mktemp("specialists")

    def trained(*overrides: str, run: RunDir | None = None, how: Manner = manner, root: Path = outputs) -> RunDir:
        config = configure("train-specialists", *TINY, f"teacher={tiny_teacher.path}", f"output_dir={root}", *overrides)
        return train_specialists(config, tiny_teacher, how, run)

    return trained


@pytest.fixture(scope="module")
def specialists(train: Train) -> RunDir:
    return train()


def sets_of(run: RunDir) -> list[list[int]]:
    return [[int(name) for name in each] for each in reference.summary(run.path)["specialists"]["sets"]]


def together(run: RunDir, teacher: RunDir) -> Any:
    """What disjoint specialists say with their generalist, by the closed form, in float64 from the files."""
    p = reference.probabilities(teacher.path)
    q, rows = p.copy(), np.arange(len(p))
    for number, special in enumerate(map(np.array, sets_of(run))):
        m = reference.probabilities(run.path / f"members/{number:02d}")
        asked = rows[np.isin(p.argmax(axis=1), special)]
        rest = np.setdiff1d(np.arange(10), special)
        mean = (p[asked] + m[asked]) / 2
        q[np.ix_(asked, special)] = mean[:, special]
        shares = p[np.ix_(asked, rest)] / p[np.ix_(asked, rest)].sum(axis=1, keepdims=True)
        q[np.ix_(asked, rest)] = shares * mean[:, rest].sum(axis=1, keepdims=True)
    return q


def test_a_run_holds_its_specialists_and_the_baseline_as_runs_and_no_cohort(specialists: RunDir) -> None:
    records = reference.RECORDS - {"findings.json"}
    inside = {"checkpoints/step-*", "checkpoints/last.json", "checkpoints/best.json", *records}
    places = ["members/00", "members/01", "members/02", "baseline"]
    expected = {f"{place}/{name}" for place in places for name in inside}
    assert reference.files(specialists.path) == expected | (records - {"metrics.jsonl"})
    assert {reference.status(specialists.path / place) for place in places} == {"finished"}
    assert audit_run(specialists.path).whole


def test_the_combined_numbers_are_those_of_the_weights(specialists: RunDir, tiny_teacher: RunDir) -> None:
    found, labels = reference.summary(specialists.path), reference.test_set()[1]
    assert found.keys() == reference.SUMMARY_KEYS
    q, p = together(specialists, tiny_teacher), reference.probabilities(tiny_teacher.path)
    assert found["test"]["errors"] == pytest.approx(reference.errors(q), abs=1)
    assert found["test"]["nll"] == pytest.approx(reference.nll(q), abs=1e-5)
    assert found["teacher"]["test"]["errors"] == pytest.approx(reference.errors(p), abs=1)
    assert found["parameters"] == 4 * (784 * 30 + 30 + 30 * 30 + 30 + 30 * 10 + 10)
    told = found["specialists"]
    before, after = p.argmax(axis=1) == labels, q.argmax(axis=1) == labels
    assert told["only_combined"] == pytest.approx((after & ~before).sum(), abs=1)
    assert told["only_generalist"] == pytest.approx((before & ~after).sum(), abs=1)
    assert told["asked"] == 1.0  # disjoint sets hold every class
    assert [row["covered_by"] for row in told["coverage"]] == [0, 1]
    assert [row["n"] for row in told["coverage"]] == [0, 10_000]
    assert told["coverage"][1]["delta"] == told["only_combined"] - told["only_generalist"]
    assert sorted(sum(sets_of(specialists), [])) == list(range(10))


def test_a_specialist_is_measured_in_its_own_terms(specialists: RunDir) -> None:
    labels = reference.test_set()[1]
    for number, special in enumerate(sets_of(specialists)):
        folder = specialists.path / f"members/{number:02d}"
        m = reference.probabilities(folder)
        own = np.concatenate([1 - m[:, special].sum(axis=1, keepdims=True), m[:, special]], axis=1)
        wanted = np.array([special.index(label) + 1 if label in special else 0 for label in labels])
        found = reference.summary(folder)["test"]
        assert found["errors"] == pytest.approx((own.argmax(axis=1) != wanted).sum(), abs=1)
        assert found["nll"] == pytest.approx(-np.log(own[np.arange(len(own)), wanted]).mean(), abs=1e-4)


def test_all_networks_begin_as_the_generalist(
    configure: Callable[..., Any], manner: Manner, tiny_teacher: RunDir
) -> None:
    config = configure("train-specialists", *TINY, f"teacher={tiny_teacher.path}", "dataset.val_seed=5")
    faculty = open_faculty(config, tiny_teacher, manner)
    raw = faculty.data.source.gather(torch.arange(50))
    said = faculty.bank.logits(faculty.data.normalization(raw)).detach()
    expected = faculty.generalist.teacher.logits(raw)
    assert said.shape == (4, 50, 10)
    assert torch.allclose(said, expected.expand(4, -1, -1), atol=1e-5)


def test_overlapping_sets_and_more_classes_ask_more_specialists(train: Train) -> None:
    once, twice = (train("specialists.size=4", "epochs=1", f"specialists.top={top}") for top in (1, 2))
    first, second = (reference.summary(run.path)["specialists"] for run in (once, twice))
    assert first["sets"] == second["sets"]
    assert all(len(each) == 4 for each in first["sets"])
    assert second["asked"] >= first["asked"]
    assert sum(row["n"] for row in first["coverage"]) == 10_000
    assert max(row["covered_by"] for row in first["coverage"]) > 1
    for number in range(3):
        path = f"members/{number:02d}"
        reference.same_training(once.path / path, twice.path / path)


def test_the_full_softmax_has_a_soft_term_but_not_for_the_baseline(train: Train) -> None:
    run = train("specialists.full_softmax=true", "epochs=1", "temperature.value=2", "alpha.value=0.5")
    lines = [reference.metrics(run.path / path)[0] for path in ("members/00", "baseline")]
    assert lines[0]["train/soft"] > 0
    assert (lines[0]["temperature"], lines[0]["alpha"]) == (2.0, 0.5)
    assert (lines[1]["train/soft"], lines[1]["temperature"]) == (None, None)
    found = reference.summary(run.path)
    assert (found["loss"], found["temperature"], found["alpha"]) == ("kd", 2.0, 0.5)


def test_a_training_that_was_stopped_and_one_that_crashed_end_as_the_undisturbed_one(
    train: Train, specialists: RunDir, manner: Manner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(how=scripted.signalled(manner, monkeypatch, 7, signal.SIGINT), root=tmp_path)
    (path,) = (tmp_path / "train-specialists").iterdir()
    assert reference.status(path) == reference.status(path / "members/01") == "interrupted"
    assert home_of(RunDir.open(path / "members/01")) == home_of(RunDir.open(path / "baseline")) == path
    with pytest.raises(scripted.CrashError):
        train(how=scripted.crashing(manner, monkeypatch, 40), root=tmp_path, run=RunDir.open(path))
    run = train(root=tmp_path, run=RunDir.open(path))
    for place in ("members/00", "members/01", "members/02", "baseline"):
        reference.same_training(specialists.path / place, run.path / place)
    assert reference.timeless(run.summary()) == reference.timeless(specialists.summary())
    assert reference.files(run.path) == reference.files(specialists.path)


@pytest.mark.parametrize("change", ["specialists.temperature=1", "specialists.correction=false", "seed=1"])
def test_a_training_does_not_go_on_with_other_specialists(
    train: Train, manner: Manner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    with pytest.raises(Interrupted):
        train(how=scripted.signalled(manner, monkeypatch, 3, signal.SIGINT), root=tmp_path)
    (path,) = (tmp_path / "train-specialists").iterdir()
    with pytest.raises(UsageError, match="changed since this training began: ") as caught:
        train(change, root=tmp_path, run=RunDir.open(path))
    assert change.partition("=")[0] in caught.value.what


def test_evaluate_measures_the_combination_and_each_network_of_it(
    bench: Bench, specialists: RunDir, tiny_teacher: RunDir
) -> None:
    measured = bench([tiny_teacher, RunDir.open(specialists.path / "baseline"), specialists]).runs
    found = Summary.model_validate(specialists.summary())
    assert found.baseline is not None
    assert measured[2].test.errors == found.test.errors
    assert measured[2].test.nll == pytest.approx(found.test.nll, abs=1e-6)
    assert measured[1].test.errors == found.baseline.test.errors
    assert (measured[2].members, measured[2].parameters) == (4, found.parameters)


def altered(run: RunDir, folder: Path, change: Callable[[dict[str, Any]], None]) -> RunDir:
    """A copy of a run whose summary says something else."""
    shutil.copytree(run.path, folder)
    content = reference.summary(folder)
    change(content)
    (folder / "summary.json").write_text(json.dumps(content))
    return RunDir.open(folder)


def _other_generalist(content: dict[str, Any]) -> None:
    content["teacher"]["sha256"] = "0" * 64


def _unknown_class(content: dict[str, Any]) -> None:
    content["specialists"]["sets"][0].append("ten")


def _one_set_less(content: dict[str, Any]) -> None:
    content["specialists"]["sets"].pop()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_other_generalist, "are not those that its specialists began as"),
        (_unknown_class, "the classes of the specialists are not those of these networks"),
        (_one_set_less, "the classes of the specialists are not those of these networks"),
    ],
)
def test_evaluate_refuses_a_combination_that_is_not_what_was_trained(
    bench: Bench, specialists: RunDir, tmp_path: Path, change: Callable[[dict[str, Any]], None], what: str
) -> None:
    with pytest.raises(CheckpointError, match=what):
        bench([altered(specialists, tmp_path / "copy", change)])
    assert bench.written() == []


def test_a_generalist_is_one_network(configure: Callable[..., Any], manner: Manner, tmp_path: Path) -> None:
    config = configure(
        "train-teacher", "members=2", "epochs=1", "transfer.fraction=0.01", "model=mlp_30", "device=cpu",
        f"output_dir={tmp_path}",
    )  # fmt: skip
    ensemble = train_teacher(config, manner)
    asked = configure("train-specialists", *TINY, f"teacher={ensemble.path}")
    with pytest.raises(UsageError, match="a generalist is one network, and .* holds 2"):
        open_faculty(asked, ensemble, manner)


def test_a_specialist_that_diverges_leaves_the_others_whole(train: Train, tmp_path: Path) -> None:
    with pytest.raises((SweepError, DivergedError)) as caught:
        train("optimizer=sgd", "optimizer.lr=100", "optimizer.weight_decay=0.9", "lr_schedule=constant", root=tmp_path)
    assert "diverged" in caught.value.what
    (path,) = (tmp_path / "train-specialists").iterdir()
    assert reference.status(path) == "failed"
    assert json.loads((path / "run.json").read_text())["error"]["code"] == 7


def test_what_specialists_say_is_no_teacher(specialists: RunDir) -> None:
    with pytest.raises(UsageError, match="a run of 'train-specialists' cannot be used here"):
        resolve_run(str(specialists.path), root=specialists.path, purpose="teacher", smoke=False)
    assert (
        resolve_run(str(specialists.path), root=specialists.path, purpose="run", smoke=False).path == specialists.path
    )


def test_a_smoke_run_ends_whole(train: Train, manner: Manner, tmp_path: Path) -> None:
    run = train("batch_size=128", how=dataclasses.replace(manner, smoke=True), root=tmp_path)
    found = reference.summary(run.path)
    assert (run.record.smoke, found["epochs"], found["test"]["n"]) == (True, 1, 512)
