"""What a sweep leaves behind: its report and figures, the command that reruns the best, and resuming it."""

from __future__ import annotations

import csv
import html
import json
import shlex
import shutil
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from kdcli.__main__ import main
from kdcli.commands.sweep_report import shared

pytestmark = pytest.mark.xdist_group("sweeps")

TINY = ["--smoke", "device=cpu", "--progress=none", "--quiet"]


def kd(root: Path, *line: str) -> str:
    """What a line prints, run in a directory."""
    out, err = StringIO(), StringIO()
    with chdir(root), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kd", *line])
        assert main(list(line)) == 0, err.getvalue()
    return out.getvalue()


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A sweep over temperature, alpha and seed, one without validation, and one of networks."""
    root = tmp_path_factory.mktemp("reported")
    kd(root, "train-teacher", "model=mlp_30", *TINY)
    (teacher,) = (root / "outputs" / "train-teacher").iterdir()
    distill = ["distill-student", "-m", f"teacher={teacher.relative_to(root)}", "model=mlp_30", *TINY]
    lines = {
        "grid": [*distill, "temperature=4,cosine", "alpha=0.5,0.9", "seed=0,1", "output_dir='a b,c'"],
        "blind": [*distill, "temperature=1,4", "dataset.val_fraction=0", "select=last", "output_dir=blind"],
        "networks": ["train-teacher", "-m", "model=mlp_30,mlp_100", "output_dir=networks", *TINY],
    }
    return root, {name: kd(root, *line) for name, line in lines.items()}


def sweep_in(folder: Path) -> Path:
    (sweep,) = (folder / "sweeps").iterdir()
    return sweep


def line_of(out: str, name: str) -> str:
    return next(line.removeprefix(f"{name:<5} ") for line in out.splitlines() if line.startswith(f"{name:<5} "))


def test_a_sweep_ends_with_its_table_its_grid_and_what_to_run_next(swept: tuple[Path, dict[str, str]]) -> None:
    root, outcomes = swept
    out = outcomes["grid"]
    sweep = sweep_in(root / "a b,c").relative_to(root)
    assert out.split()[:4] == ["rank", "temperature", "alpha", "seeds"]
    assert "top-1 on validation, % (mean of 2 seeds)" in out
    assert "\x1b" not in out
    assert line_of(out, "sweep") == str(sweep)
    assert line_of(out, "see") == f"{sweep}/report.html"
    assert shlex.split(line_of(out, "next"))[:2] == ["kd", "evaluate"]
    files = sorted(path.name for path in (root / sweep / "figures").iterdir())
    assert files == [f"heatmap{part}.{kind}" for part in ("-test", "") for kind in ("csv", "png", "svg")]


def test_the_numbers_of_the_heatmap_are_means_of_the_jobs_summaries(swept: tuple[Path, dict[str, str]]) -> None:
    sweep = sweep_in(swept[0] / "a b,c")
    jobs = json.loads((sweep / "summary.json").read_text())["jobs"]
    with (sweep / "figures" / "heatmap.csv").open(newline="") as file:
        drawn = {(row[0], row[1]): float(row[2]) for row in list(csv.reader(file))[1:]}
    assert len(drawn) == 4
    for (temperature, alpha), value in drawn.items():
        own = [job["summary"]["val"]["top1"] for job in jobs
               if {f"temperature={temperature}", f"alpha={alpha}"} <= set(job["overrides"])]  # fmt: skip
        assert len(own) == 2
        assert value == pytest.approx(100 * sum(own) / 2)


def test_the_command_that_reruns_the_best_gives_its_numbers_again(swept: tuple[Path, dict[str, str]]) -> None:
    root, outcomes = swept
    words = shlex.split(line_of(outcomes["grid"], "best"))
    assert words[0] == "kd"
    assert "--smoke" in words
    sweep = sweep_in(root / "a b,c")
    jobs = json.loads((sweep / "summary.json").read_text())["jobs"]
    (job,) = [job["summary"] for job in jobs if set(job["overrides"][3:6]) <= set(words)]
    again = json.loads(kd(root, *words[1:], "--json", "--progress=none", "output_dir=again"))
    assert all(again[key] == job[key] for key in ("temperature", "alpha", "seed", "model"))
    assert again["val"]["nll"] == pytest.approx(job["val"]["nll"], rel=1e-4)
    assert f"<pre><code>{html.escape(' '.join(map(shlex.quote, words)))}</code></pre>" in report_of(sweep)


def report_of(sweep: Path) -> str:
    return (sweep / "report.html").read_text()


def test_the_report_says_what_the_jobs_share_and_links_to_them(swept: tuple[Path, dict[str, str]]) -> None:
    sweep = sweep_in(swept[0] / "a b,c")
    text = report_of(sweep)
    for number in range(8):
        assert f'href="{number:02}/"' in text
        assert (sweep / f"{number:02}").is_dir()
    assert "<td>batch_size</td>" in text
    assert "<td>temperature.kind</td>" not in text
    assert "<td>model.hidden</td>" in text
    assert "This was a smoke run" in text
    assert "kd distill-student -m teacher=" in text


def test_without_validation_nothing_is_called_best(swept: tuple[Path, dict[str, str]]) -> None:
    root, outcomes = swept
    out = outcomes["blind"]
    assert "No setting is called best: there is no validation part to rank by." in out
    assert "\nbest " not in out
    assert "\nnext " not in out
    assert (sweep_in(root / "blind") / "figures" / "points-test.png").exists()
    assert not (sweep_in(root / "blind") / "figures" / "points.png").exists()


def test_a_sweep_of_networks_ends_with_the_distillation_of_the_best(swept: tuple[Path, dict[str, str]]) -> None:
    root, outcomes = swept
    out = outcomes["networks"]
    sweep = sweep_in(root / "networks").relative_to(root)
    assert line_of(out, "next").startswith(f"kd distill-student teacher={sweep}/0")
    assert "soft" not in out
    assert "baseline" not in out


def test_a_finished_sweep_without_its_report_gets_it_and_nothing_else_changes(
    swept: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    shutil.copytree(sweep_in(swept[0] / "networks"), sweep)
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    (sweep / "report.html").unlink()
    shutil.rmtree(sweep / "figures")
    assert kd(tmp_path, "resume", str(sweep)) == f"{sweep} is finished: nothing to resume\n"
    after = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    changed = {path.name for path in after if after[path] != before[path]}
    assert changed <= {"report.html"}, "it names the directory that the sweep is in now"


def test_what_configurations_share_is_what_is_equal_in_all() -> None:
    first = {"a": 1, "b": {"c": 2, "d": 3}, "e": [1, 2], "f": {"g": 1}, "h": None, "only": 1}
    second = {"a": 1, "b": {"c": 2, "d": 4}, "e": [1, 3], "f": "text", "h": None}
    assert shared([first, second]) == {"a": 1, "b": {"c": 2}, "h": None}
    assert shared([first]) == first
    assert shared([first, first, second]) == shared([second, first])
