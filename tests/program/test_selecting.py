"""``kd train-teacher model=selection`` from the command line to its files, and what can be done with such a run."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from kdcli import checkpoint, selected
from kdcli.__main__ import main
from kdcli.errors import CheckpointError, DataError
from kdcli.program.slots import for_smoke
from kdcli.program.sweep import plan_sweep
from kdcli.rundir import RunDir
from kdcli.schema.card import NetworkCard
from kdcli.trained import load_trained
from kdcli.yaml_io import dump_yaml
from tests.program import reference

pytestmark = pytest.mark.xdist_group("program_selecting")

CPU = torch.device("cpu")
SIZES = {"train": 160, "test": 40}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two classes; the quantity tells most, the category the rest."""
    draw = random.Random(0)
    lines = ["width,colour,kind"]
    for _ in range(sum(SIZES.values())):
        width, colour = draw.gauss(0, 1), draw.choice(["red", "green", "blue"])
        score = width + (colour == "red") + draw.gauss(0, 0.3)
        lines.append(f"{width:.4f},{colour},{'large' if score > 0.3 else 'small'}")
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def words(table: Path, outputs: Path) -> list[str]:
    dataset = ["dataset=csv", f"dataset.path={table}", "dataset.target=kind", "dataset.val_fraction=0.3"]
    return [*dataset, "device=cpu", f"output_dir={outputs}", "--quiet"]


@pytest.fixture(scope="module")
def outputs(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs with the one run that all tests share; copy it before you change anything in it."""
    folder = tmp_path_factory.mktemp("selecting") / "outputs"
    assert main(["train-teacher", "model=selection", "model.library=small", *words(table, folder)]) == 0
    return folder


@pytest.fixture
def run(outputs: Path) -> RunDir:
    (path,) = (outputs / "train-teacher").iterdir()
    return RunDir.open(path)


@pytest.fixture
def copy(run: RunDir, tmp_path: Path) -> RunDir:
    return RunDir.open(Path(shutil.copytree(run.path, tmp_path / run.path.name)))


def test_it_is_no_generalist(table: Path, run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["train-specialists", f"teacher={run.path}", *words(table, tmp_path / "outputs"), "specialists.count=2"]
    assert main(asked) == 2
    assert "is an ensemble selection" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another process: no models are at hand."""
    monkeypatch.setattr(selected, "_at_hand", {})


@pytest.fixture
def no_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)


def answers(run: RunDir) -> Any:
    """What is kept of what the ensemble says: float64 probabilities, the training rows first."""
    return np.exp(load_file(reference.step_directory(run.path, "last") / "model.safetensors")["answers"].astype(float))


def labels(table: Path, run: RunDir) -> Any:
    """Of the test rows, by kd's own cut of the file."""
    from kdcli import data

    section = run.config()["dataset"]
    options = {key: section[key] for key in ("path", "target", "test_path", "test_fraction", "seed", "nominal")}
    return data.load("csv", options).test.labels.numpy()


def test_the_run_is_whole_and_holds_no_model(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run.path)]) == 0
    assert "whole" in capsys.readouterr().out
    step = "checkpoints/step-*"
    record = {"run.json", "config.yaml", "overrides.yaml", "environment.json", "summary.json"}
    assert reference.files(run.path) == record | {step, "checkpoints/last.json"}
    summary = reference.summary(run.path)
    assert summary.keys() == reference.SUMMARY_KEYS
    assert (summary["status"], summary["model"], summary["epochs"], summary["parameters"]) == (
        "finished", "selection", 0, 0,
    )  # fmt: skip


def test_its_numbers_are_those_of_the_answers_that_are_kept(table: Path, run: RunDir) -> None:
    summary, said = reference.summary(run.path), answers(run)
    assert len(said) == sum(SIZES.values())
    test, truth = said[SIZES["train"] :], labels(table, run)
    assert summary["test"]["n"] == SIZES["test"]
    assert summary["test"]["errors"] == int((test.argmax(1) != truth).sum()) < 10
    assert summary["test"]["rmse"] == pytest.approx(np.sqrt(np.mean((test[:, 1] - truth) ** 2)), rel=1e-5)


def test_the_summary_has_the_members_and_their_cost(run: RunDir) -> None:
    summary = reference.summary(run.path)
    found = summary["selection"]
    assert found["models"] == 20
    assert sum(member["weight"] for member in found["members"]) == pytest.approx(1)
    assert found["net"]["name"].startswith("net ")
    for one in (found["single"], found["net"]):
        assert one["test"]["n"] == SIZES["test"]
        assert 0 < one["bytes"] < summary["bytes"]
        assert one["seconds_per_10k"] > 0
    assert summary["seconds_per_10k"] > found["net"]["seconds_per_10k"]


def test_it_teaches_and_is_measured_where_scikit_learn_is_not_installed(
    outputs: Path, table: Path, run: RunDir, tmp_path: Path, forgotten: None, no_scikit_learn: None
) -> None:
    given = [*words(table, tmp_path / "outputs"), f"teacher={run.path}", "alpha=1", "temperature=1", "epochs=3"]
    assert main(["distill-student", "model=mlp_shallow", "model.hidden=[8]", "batch_size=32", *given]) == 0
    (student,) = (tmp_path / "outputs" / "distill-student").iterdir()
    teacher = reference.summary(student)["teacher"]
    assert (teacher["parameters"], teacher["members"]) == (0, 1)
    own = reference.summary(run.path)["test"]
    assert teacher["test"]["errors"] == own["errors"]
    assert teacher["test"]["rmse"] == pytest.approx(own["rmse"], rel=1e-5)
    runs = f"run=[{run.path},{student}]"
    assert main(["evaluate", runs, "device=cpu", f"output_dir={tmp_path / 'outputs'}", "--quiet"]) == 0
    (evaluation,) = (tmp_path / "outputs" / "evaluate").glob("*/evaluation.json")
    first, second = json.loads(evaluation.read_text())["runs"]
    assert (first["bytes"], first["macs"], first["latency"]) == (reference.summary(run.path)["bytes"], 0, [])
    assert second["bytes"] == reference.summary(student)["bytes"] == 4 * (2 * 8 + 8 + 8 * 2 + 2)
    assert len(second["latency"]) == 2
    assert second["test"]["agreement"] is not None


def test_of_other_rows_the_models_are_asked_fitted_again_as_they_were(run: RunDir, forgotten: None) -> None:
    said: list[str] = []
    trained = load_trained(run, CPU, trust_code=False, say=said.append)
    rows = torch.tensor([[3.0, 1.0], [-3.0, 0.0]])
    assert trained.network(trained.normalization(rows)).exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert "its models are fitted again" in said[0]
    at_hand, digest = selected._at_hand, reference.summary(run.path)["selection"]["sha256"]
    assert list(at_hand) == [digest]
    before = at_hand[digest]
    assert torch.equal(trained.network(rows), before.log_probabilities(rows))
    assert at_hand[digest] is before, "they were fitted once"


def test_models_that_come_out_otherwise_are_refused(copy: RunDir, forgotten: None) -> None:
    config = copy.config()
    (copy.path / "config.yaml").write_text(dump_yaml(config | {"seed": 1}))
    loaded = checkpoint.load(copy.checkpoints, "last")
    card = NetworkCard.model_validate(loaded.state["card"])
    network = selected.kept_ensemble(copy, card, loaded.tensors["model"], loaded.state | {"scikit_learn": "0.1"}, print)
    with pytest.raises(CheckpointError, match=r"not those that were selected: it was fitted by scikit-learn '0.1'"):
        network(torch.tensor([[3.0, 1.0]]))


def test_models_are_not_fitted_to_other_data(copy: RunDir, table: Path, tmp_path: Path, forgotten: None) -> None:
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("green", "red", 1))
    config = copy.config()
    config["dataset"]["path"] = str(other)
    (copy.path / "config.yaml").write_text(dump_yaml(config))
    network = load_trained(copy, CPU, trust_code=False).network
    with pytest.raises(DataError, match="the data are not those"):
        network(torch.tensor([[3.0, 1.0]]))


@pytest.mark.parametrize("name", ["sha256", "rows", "answers"])
def test_what_is_kept_must_have_its_form(run: RunDir, name: str) -> None:
    loaded = checkpoint.load(run.checkpoints, "last")
    card, tensors = NetworkCard.model_validate(loaded.state["card"]), loaded.tensors["model"]
    for wrong in ({name: tensors[name][:1, None]}, {name: tensors[name].double()}, {"more": tensors[name]}):
        with pytest.raises(CheckpointError, match="another form"):
            selected.kept_ensemble(run, card, tensors | wrong, {}, print)
    with pytest.raises(CheckpointError, match="another form"):
        selected.kept_ensemble(run, card, {key: tensors[key] for key in tensors if key != name}, {}, print)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        selected.kept_ensemble(run, card, tensors | {"answers": tensors["answers"] * torch.nan}, {}, print)


def test_one_that_was_stopped_begins_again_and_ends_as_the_same(run: RunDir, copy: RunDir, forgotten: None) -> None:
    (copy.path / "summary.json").unlink()
    copy.set_status("interrupted")
    assert main(["resume", str(copy.path), "--quiet"]) == 0
    found = reference.summary(copy.path)
    assert found["selection"]["sha256"] == reference.summary(run.path)["selection"]["sha256"]
    assert found["test"] == reference.summary(run.path)["test"]
    assert [path.name for path in (copy.checkpoints).glob("step-*")] == ["step-000000"]


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_the_extra_is_named_where_it_is_missing(
    table: Path, tmp_path: Path, no_scikit_learn: None, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-teacher", "model=selection", *words(table, tmp_path / "outputs"), *more]) == 6
    assert "pip install 'kdcli[selection]'" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_a_dry_run_fits_and_writes_nothing(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", "model=selection", *words(table, tmp_path / "outputs"), "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "146 models" in plan
    assert "nothing was written; no model was fitted" in plan
    assert not (tmp_path / "outputs").exists()


def test_jobs_of_a_sweep_are_fitted_one_by_one(configure: Any) -> None:
    jobs = [configure("train-teacher", "model=selection", "dataset=letter_p1", f"seed={seed}") for seed in (0, 1)]
    assert plan_sweep(jobs).groups == [[0], [1]]


def test_a_smoke_run_has_the_small_library(configure: Any) -> None:
    config = configure("train-teacher", "model=selection", "dataset=letter_p1")
    assert (config.model.library, for_smoke(config).model.library) == ("full", "small")
