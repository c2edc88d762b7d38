"""Sweeps from the command line to their files: jobs in programs, shared baselines, and one job that goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from kdcli.__main__ import main
from kdcli.rundir import RunDir
from tests.program import reference

pytestmark = pytest.mark.xdist_group("program_sweeps")

TINY = (
    "transfer.fraction=0.02", "batch_size=32", "device=cpu", "epochs=2", "model=mlp_30", "optimizer.lr=0.01",
    "--progress=none",
)  # fmt: skip
Sweep = Callable[..., tuple[int, Path]]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("swept")


@pytest.fixture(scope="module")
def sweep(outputs: Path) -> Sweep:
    """Run ``kd COMMAND -m ...`` here; its exit code and its directory."""

    def swept(name: str, command: str, *words: str) -> tuple[int, Path]:
        root = outputs / name
        code = main([command, "-m", *TINY, f"output_dir={root}", *words])
        (folder,) = (root / "sweeps").iterdir()
        return code, folder

    return swept


@pytest.fixture(scope="module")
def fused(sweep: Sweep, tiny_teacher: RunDir) -> Path:
    """Two losses, which cannot share a program, at two temperatures, which can; one baseline serves all four."""
    words = (f"teacher={tiny_teacher.path}", "loss=kd,mse_logits", "temperature=1,4", "alpha=0.9")
    code, folder = sweep("fused", "distill-student", *words)
    assert code == 0
    return folder


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def test_a_sweep_holds_its_jobs_its_baselines_and_its_records(fused: Path) -> None:
    visible = {path.name for path in fused.iterdir() if not path.name.startswith(".")}
    records = {"run.json", "config.yaml", "overrides.yaml", "environment.json", "summary.json", "ledger.jsonl"}
    assert visible == records | {"00", "01", "02", "03", "baselines", "programs", "figures", "report.html"}
    assert reference.status(fused) == "finished"
    own = reference.RECORDS | {"checkpoints/step-*", "checkpoints/last.json", "checkpoints/best.json"}
    for name in ("00", "01", "02", "03", "baselines/00"):
        assert reference.files(fused / name) == own
        assert reference.status(fused / name) == "finished"
    assert len(list((fused / "baselines").iterdir())) == 1
    assert not [path for path in fused.parent.iterdir() if path != fused], "nothing is left beside it"


def test_jobs_are_grouped_by_what_members_of_a_cohort_may_own(fused: Path) -> None:
    programs = [read(fused / "programs", path.name) for path in sorted((fused / "programs").iterdir())]
    assert [(each["jobs"], each["baselines"]) for each in programs] == [([0, 1], [0]), ([2, 3], [])]


def test_the_ledger_tells_jobs_labels_overrides_and_ends(fused: Path) -> None:
    lines = ledger(fused)
    assert [line["status"] for line in lines] == ["created"] * 4 + ["finished"] * 4
    assert [line["job"] for line in lines] == [0, 1, 2, 3] * 2
    assert [line["baseline"] for line in lines[:4]] == [0] * 4
    assert [line["label"] for line in lines[:4]] == [
        "loss=kd temperature=1", "loss=kd temperature=4", "loss=mse_logits temperature=1",
        "loss=mse_logits temperature=4",
    ]  # fmt: skip
    assert all("alpha=0.9" in line["overrides"] for line in lines)
    records = [read(fused / f"{job:02d}", "run.json") for job in range(4)]
    assert [record["label"] for record in records] == [line["label"] for line in lines[:4]]


def test_the_summary_holds_the_summary_of_every_job(fused: Path) -> None:
    jobs = read(fused, "summary.json")["jobs"]
    assert [job["summary"] for job in jobs] == [reference.summary(fused / f"{job:02d}") for job in range(4)]
    assert [(job["summary"]["loss"], job["summary"]["temperature"]) for job in jobs] == [
        ("kd", 1), ("kd", 4), ("mse_logits", 1), ("mse_logits", 4),
    ]  # fmt: skip


@pytest.mark.parametrize("job", ["01", "03"])
def test_every_job_is_compared_with_the_one_baseline_also_across_programs(fused: Path, job: str) -> None:
    compared = reference.summary(fused / job)["baseline"]
    assert compared["run"] == str(fused / "baselines" / "00")
    assert compared["test"] == reference.summary(fused / "baselines" / "00")["test"]
    labels = reference.test_set()[1]
    paths = (fused / job, fused / "baselines" / "00")
    right = [reference.probabilities(path).argmax(axis=1) == labels for path in paths]
    assert compared["only_student"] == pytest.approx((right[0] & ~right[1]).sum(), abs=2)
    assert compared["only_baseline"] == pytest.approx((right[1] & ~right[0]).sum(), abs=2)
    exact = binomtest(compared["only_student"], compared["only_student"] + compared["only_baseline"])
    assert compared["p_value"] == pytest.approx(exact.pvalue, rel=1e-9)


def test_one_by_one_the_jobs_come_to_the_same(fused: Path, sweep: Sweep, tiny_teacher: RunDir) -> None:
    words = (f"teacher={tiny_teacher.path}", "loss=kd,mse_logits", "temperature=1,4", "alpha=0.9", "sweep.fuse=false")
    code, folder = sweep("single", "distill-student", *words)
    assert code == 0
    programs = [read(folder / "programs", path.name) for path in sorted((folder / "programs").iterdir())]
    assert [(each["jobs"], each["baselines"]) for each in programs] == [([0], [0]), ([1], []), ([2], []), ([3], [])]
    for name in ("00", "01", "02", "03", "baselines/00"):
        assert reference.differences(reference.weights(folder / name), reference.weights(fused / name)) < 1e-4
        first, second = (reference.summary(root / name) for root in (folder, fused))
        assert first["test"]["nll"] == pytest.approx(second["test"]["nll"], abs=1e-3)
    assert reference.summary(folder / "03")["baseline"]["run"] == str(folder / "baselines" / "00")


def test_each_configuration_has_a_baseline_of_its_own(sweep: Sweep, tiny_teacher: RunDir) -> None:
    words = (f"teacher={tiny_teacher.path}", "optimizer.lr=0.01,0.02", "temperature=1,4", "epochs=1")
    code, folder = sweep("rates", "distill-student", *words)
    assert code == 0
    assert [line["baseline"] for line in ledger(folder)[:4]] == [0, 0, 1, 1]
    assert [reference.metrics(folder / "baselines" / name)[0]["lr"] for name in ("00", "01")] == pytest.approx(
        [reference.metrics(folder / job)[0]["lr"] for job in ("00", "02")]
    )
    assert len(list((folder / "programs").iterdir())) == 1, "rates are a member's own"


def test_label_free_jobs_share_a_baseline_that_trains_by_itself(sweep: Sweep, tiny_teacher: RunDir) -> None:
    words = (f"teacher={tiny_teacher.path}", "temperature=1,4", "alpha=1", "transfer.labels=false", "epochs=1")
    code, folder = sweep("blind", "distill-student", *words)
    assert code == 0
    steps = {reference.summary(folder / name)["steps"] for name in ("00", "01", "baselines/00")}
    assert steps == {34}
    assert reference.summary(folder / "01")["baseline"]["run"] == str(folder / "baselines" / "00")
    assert not (folder / "cohorts").exists()


def test_a_diverging_job_does_not_touch_the_others(
    sweep: Sweep, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ("optimizer=sgd", "optimizer.weight_decay=1", "lr_schedule=constant")
    code, folder = sweep("diverging", "train-teacher", "optimizer.lr=0.01,50,0.02", *shared)
    said = capsys.readouterr()
    assert code == 7
    assert [line["status"] for line in ledger(folder)[3:]] == ["finished", "diverged", "finished"]
    assert [reference.status(folder / job) for job in ("00", "01", "02")] == ["finished", "diverged", "finished"]
    assert len(list((folder / "programs").iterdir())) == 1
    assert (reference.status(folder), read(folder, "run.json")["error"]["code"]) == ("failed", 7)
    assert "1 of 3 jobs did not finish: optimizer.lr=50" in said.err
    assert "diverged in epoch 1, step" in " ".join(said.out.split())
    assert read(folder, "summary.json")["jobs"][1]["summary"] is None
    options = [word for word in TINY if not word.startswith("optimizer.lr")]
    line = ["train-teacher", *options, *shared, "optimizer.lr=0.02", f"output_dir={outputs / 'alone'}"]
    assert main(line) == 0
    (alone,) = (outputs / "alone" / "train-teacher").iterdir()
    assert reference.differences(reference.weights(alone), reference.weights(folder / "02")) < 1e-5
    assert not (folder / "cohorts").exists()


def test_the_last_lines_name_the_sweep_and_the_command_of_the_best_job(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    code, folder = sweep("best", "train-teacher", "epochs=1", "optimizer.lr=0.0001,0.01", "temperature=3")
    said = capsys.readouterr()
    assert code == 0
    *_, place, report, best, following = said.out.splitlines()
    assert place.split() == ["sweep", str(folder)]
    assert report.split() == ["see", str(folder / "report.html")]
    assert following.startswith("next  kd distill-student teacher=")
    assert best.startswith("best  kd train-teacher ")
    assert "optimizer.lr=0.01 " in f"{best} "
    assert f"output_dir={folder.parents[1]}" in best
    assert said.err.count("temperature=3 ignored") == 1


def test_ensembles_can_be_jobs(sweep: Sweep) -> None:
    code, folder = sweep("ensembles", "train-teacher", "members=2", "seed=0,1", "epochs=1")
    assert code == 0
    members = [reference.summary(folder / job / "members" / "01")["seed"] for job in ("00", "01")]
    assert members == [1, 1001]
    assert reference.summary(folder / "01")["members"][1]["run"] == str(folder / "01" / "members" / "01")
    assert not list(folder.rglob("cohort*"))


def test_a_smoke_sweep_records_what_was_run(sweep: Sweep) -> None:
    code, folder = sweep("smoke", "train-teacher", "epochs=9", "seed=0,1", "--smoke")
    assert code == 0
    for name in ("", "00", "01"):
        assert read(folder / name, "run.json")["smoke"] is True
    assert RunDir.open(folder / "00").config()["epochs"] == 1
    assert reference.summary(folder / "01")["test"]["n"] == 512


def test_what_a_sweep_cannot_do_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "-m", "run=a,b", f"output_dir={tmp_path / 'outputs'}"]) == 2
    assert "several runs at once" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
