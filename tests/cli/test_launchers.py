"""``hydra/launcher=``: what each option needs, what is refused before any work, and a sweep through joblib."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdcli.__main__ import main
from kdcli.commands import launchers
from kdcli.errors import UsageError

pytestmark = pytest.mark.xdist_group("launchers")

ROOT = Path(__file__).parents[2]
OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "hydra" / "launcher").glob("*.yaml"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SWEEP = ("train-teacher", "-m", "seed=0,1")


def option(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "conf" / "hydra" / "launcher" / f"{name}.yaml").read_text()))


def test_the_options_are_those_that_the_documents_name() -> None:
    assert OPTIONS == ["joblib", "ray", "submitit_local", "submitit_slurm"]
    named = (ROOT / "docs" / "clusters.md").read_text()
    assert all(f"`{name}`" in named for name in OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_names_a_launcher_whose_extra_there_is(name: str) -> None:
    needs = launchers.NEEDS[option(name)["_target_"]]
    assert needs.extra in EXTRAS
    assert f"pip install 'kdcli[{needs.extra}]'" in (ROOT / "conf" / "hydra" / "launcher" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_launcher_that_is_not_installed_is_one_screen_with_the_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = launchers.NEEDS[option(name)["_target_"]]
    monkeypatch.setattr("kdcli.extras.find_spec", lambda package: None if package == needs.package else object())
    monkeypatch.chdir(tmp_path)
    assert main([*SWEEP, f"hydra/launcher={name}"]) == 6
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"error: hydra/launcher={name} needs {needs.package}, which is not installed",
        f"where: hydra/launcher={name}",
        f"   do: pip install 'kdcli[{needs.extra}]'",
    ]
    assert list(tmp_path.iterdir()) == []


def test_slurm_s_own_program_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*SWEEP, "hydra/launcher=submitit_slurm", f"output_dir={tmp_path}"]) == 6
    assert "needs sbatch, which is not on this machine" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "setting", "what"),
    [
        ("joblib", "n_jobs=0", "hydra.launcher.n_jobs=0 is no number of processes"),
        ("joblib", "n_jobs=two", "hydra.launcher.n_jobs=two is no number of processes"),
        ("joblib", "n_job=2", "unknown key 'hydra.launcher.n_job'"),
        ("submitit_local", "array_parallelism=0", "hydra.launcher.array_parallelism=0 is no number of programs"),
        ("submitit_local", "timeout_min=4h", 'Parameter "timeout_min" expected type'),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(
    name: str,
    setting: str,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SWEEP, f"hydra/launcher={name}", f"hydra.launcher.{setting}"]) == 2
    assert what in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_launcher_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SWEEP, "hydra/launcher=submitit_slurn"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'hydra/launcher=submitit_slurm'?" in said
    assert ", ".join(["basic", *OPTIONS]) in said


def test_a_launcher_is_for_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-teacher", "hydra/launcher=joblib", f"output_dir={tmp_path}"]) == 2
    assert "add -m" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_of_what_goes_on_only_a_sweep_has_a_launcher(
    tiny_teacher: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(tiny_teacher.path), "hydra/launcher=joblib"]) == 2
    assert "hydra/launcher=joblib is for sweeps" in capsys.readouterr().err


@pytest.mark.parametrize(("n_jobs", "cpus", "processes"), [(3, 8, 3), (-1, 8, 8), (-2, 8, 7), (-9, 8, 1)])
def test_joblib_s_numbers_are_counted_as_joblib_counts(
    n_jobs: int, cpus: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cpus)))

    class Launcher:
        joblib = {"n_jobs": n_jobs}

    assert launchers.workers_of(Launcher()).at_once == processes  # type: ignore[arg-type]


def test_zero_processes_are_refused() -> None:
    class Launcher:
        joblib = {"n_jobs": 0}

    with pytest.raises(UsageError, match="n_jobs=0"):
        launchers.workers_of(Launcher())  # type: ignore[arg-type]


def test_a_cohort_is_split_among_joblib_s_processes_which_end_its_sweep(kd: Callable[..., Any], tmp_path: Path) -> None:
    words = ("model=mlp_30", "transfer.fraction=0.01", "epochs=1", "device=cpu", "hydra/launcher=joblib", "--json")
    done = kd(*SWEEP, *words, cwd=tmp_path)
    assert done.code == 0, done.err
    assert [job["status"] for job in json.loads(done.out)["jobs"]] == ["finished", "finished"]
    (home,) = (tmp_path / "outputs" / "sweeps").iterdir()
    programs = [json.loads(path.read_text())["jobs"] for path in sorted((home / "programs").iterdir())]
    assert programs == [[0], [1]]
    owner, *workers = [json.loads((home / name / "run.json").read_text())["pid"] for name in ("", "00", "01")]
    assert owner not in workers
    assert any(line.startswith("[00] epoch 1/1") for line in done.err.splitlines())
    assert any(line.startswith("[01] epoch 1/1") for line in done.err.splitlines())
