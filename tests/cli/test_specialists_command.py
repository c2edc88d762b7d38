"""``kd train-specialists`` as it is typed: its last lines, its refusals, sweeps of it, and its study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kdcli.__main__ import main
from kdcli.commands.audit import audit_run
from kdcli.rundir import RunDir

pytestmark = pytest.mark.xdist_group("specialists")

TINY = (
    "transfer.fraction=0.01", "batch_size=32", "device=cpu", "epochs=1", "specialists.count=2",
    "specialists.temperature=4", "--progress=none",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def only_run() -> RunDir:
    (path,) = Path("outputs/train-specialists").iterdir()
    return RunDir.open(path)


def summary() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((only_run().path / "summary.json").read_text())
    return content


def test_the_last_lines_compare_generalist_baseline_and_combination(
    tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-specialists", *TINY, f"teacher={tiny_teacher.path}", "temperature=3"]) == 0
    shown = capsys.readouterr()
    found, lines = summary(), shown.out.splitlines()
    numbers = [
        line.removeprefix(name).split()[0]
        for name, line in zip(("generalist", "trained on", "with 2 specialists"), lines[1:4], strict=True)
    ]
    errors = [found["teacher"]["test"]["errors"], found["baseline"]["test"]["errors"], found["test"]["errors"]]
    assert numbers == [f"{count:,}" for count in errors]
    said = " ".join(shown.out.split())
    for classes in found["specialists"]["sets"]:
        assert " ".join(classes) in said
    assert "temperature=3 ignored" in shown.err
    (row,) = [line.split() for line in lines if line.split()[:2] == ["1", "10,000"]]
    assert row[2] == f"{found['specialists']['coverage'][1]['delta']:+d}"
    assert f"next  kd evaluate 'run=[{tiny_teacher.path},{only_run().path}/baseline,{only_run().path}]'" in shown.out


def test_json_is_the_summary_and_a_dry_run_writes_nothing(
    tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train-specialists", *TINY, f"teacher={tiny_teacher.path}", "--smoke", "baseline=false"]
    assert main([*words, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert planned.count("network  special") == 2
    assert main([*words[:-1], "--dry-run"]) == 0
    assert capsys.readouterr().out.count("network  ") == 1 + planned.count("network  "), "the control is one too"
    assert not Path("outputs").exists()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == summary()
    assert (summary()["baseline"], only_run().record.smoke) == (None, True)
    assert main(["verify", str(only_run().path)]) == 0
    assert main(["resume", str(only_run().path)]) == 0
    assert "finished: nothing to resume" in capsys.readouterr().out


def test_a_run_is_listed_compared_reported_and_not_exported(
    tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-specialists", *TINY, f"teacher={tiny_teacher.path}", "--quiet"]) == 0
    path, found = only_run().path, summary()
    capsys.readouterr()
    assert main(["runs", "command=train-specialists", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["status"], row["top1"], row["teacher_top1"]) == (
        "finished", found["test"]["top1"], found["teacher"]["test"]["top1"],
    )  # fmt: skip
    assert main(["compare", str(path), str(tiny_teacher.path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["groups"]) == 2
    (path / "report.html").unlink(missing_ok=True)
    assert main(["report", "latest"]) == 0
    page = (path / "report.html").read_text()
    assert "with 2 specialists" in page
    assert "<h2>Coverage</h2>" in page
    assert "student" not in page.partition("<h2>Configuration")[0]
    assert main(["report", str(path / "members/00")]) == 2
    capsys.readouterr()
    parts = [f"{path}/members/{number}" for number in ("00", "01")]
    for asked, following in ((parts, f"kd report {path}"), ([path, tiny_teacher.path], "kd distill-student teacher=")):
        words = [f"run=[{','.join(map(str, asked))}]", "latency=false", "device=cpu", "--smoke"]
        assert main(["evaluate", *words]) == 0
        assert f"next  {following}" in capsys.readouterr().out
    assert main(["export", str(path)]) == 2
    assert f"{path}/members/00" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "there is no finished train-teacher"),
        (["specialists.count=1"], "specialists.count = 1 is out of range; allowed: [2, 1000]"),
        (["specialists.cuont=3"], "did you mean 'specialists.count'?"),
        (["model=mlp_30"], "model"),
        (["transfer.labels=false"], "nothing to tell their classes by"),
        (["transfer=munge"], "nothing to tell their classes by"),
    ],
)
def test_refusals(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-specialists", "teacher=latest", *words]) == 2
    assert what in capsys.readouterr().err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["specialists.count=11"], "11 specialists cannot share 10 classes"),
        (["specialists.size=10"], "a specialist cannot have 10 of 10 classes"),
        (["dataset=letter"], "the network knows classes"),
    ],
)
def test_what_does_not_fit_the_generalist_is_refused_before_there_is_a_run(
    tiny_teacher: RunDir, words: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train-specialists", *TINY, f"teacher={tiny_teacher.path}", *words]) == 2
    assert what in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_a_sweep_trains_its_jobs_one_after_another(tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train-specialists", *TINY, f"teacher={tiny_teacher.path}", "-m", "specialists.count=2,3", "--json"]
    assert main(words) == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert [len(job["summary"]["specialists"]["sets"]) for job in jobs] == [2, 3]
    (sweep,) = Path("outputs/sweeps").iterdir()
    assert audit_run(sweep).whole
    assert (sweep / "report.html").exists()
    assert main(["resume", str(sweep)]) == 0


def test_its_study_runs_in_smoke(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "hinton2015/specialists", "--smoke", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    found = {row["name"]: row["values"] for row in rows}
    assert all(len(found[name]) == 1 for name in found if "specialists cover" not in name)  # perhaps none does
    assert len(found) > 12
