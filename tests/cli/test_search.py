"""``kd search``: real searches, killed and resumed, and what is refused."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from kdcli.__main__ import main
from kdcli.commands.completion import candidates
from kdcli.program.search import LEFT_OUT
from kdcli.rundir import RunDir
from tests.program import reference

pytestmark = pytest.mark.xdist_group("search")

TINY = ("transfer.fraction=0.01", "batch_size=32", "device=cpu", "epochs=1", "model=mlp_30", "--progress=none")
SPACE = ("temperature=interval(1,20)", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "alpha=range(0,1,0.1)")
BATCHED = ("search.trials=5", "search.batch=3")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def line(teacher: RunDir, *words: str) -> list[str]:
    """A search of two batches."""
    return ["search", "distill-student", f"teacher={teacher.path}", *TINY, *SPACE, *BATCHED, *words]


def only(root: str = "outputs") -> Path:
    (path,) = Path(root, "search").iterdir()
    return path


def summary(search: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((search / "summary.json").read_text())
    return content


def tried(search: Path) -> list[tuple[dict[str, Any], float | None]]:
    """What a search tried, and what came of it."""
    return [(trial["values"], trial["value"]) for trial in summary(search)["trials"]]


def journal(search: Path) -> optuna.Study:
    """What Optuna's own tools see."""
    backend = optuna.storages.journal.JournalFileBackend(str(search / "optuna.jsonl"))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))


def process(*words: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", **variables}
    command = [sys.executable, "-m", "kdcli", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_search_goes_on_and_ends_as_if_it_had_not_been(
    tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line(tiny_teacher, "output_dir=whole", "--json", "--quiet")) == 0
    whole = only("whole")
    found = summary(whole)
    assert json.loads(capsys.readouterr().out) == found

    programs = [json.loads(path.read_text())["jobs"] for path in sorted(whole.glob("batches/*/programs/*.json"))]
    assert programs == [[0, 1, 2], [0, 1]], "each batch is one cohort"
    assert len(list(Path("whole/targets").glob("*/answers.bin"))) == 1, "the teacher is asked once"
    best = max(found["trials"], key=lambda trial: trial["value"])
    assert found["best"].items() >= {key: best[key] for key in ("trial", "values", "value", "run")}.items()
    assert best["value"] == reference.summary(Path(best["run"]))["val"]["top1"]
    assert not list(whole.glob("batches/*/baselines")), "no trial has a baseline"

    # The fourth trial's summary is the first of the second batch.
    with process(*line(tiny_teacher, "--quiet"), KD_FAILPOINT="summary.json.replace:5") as killed:
        killed.communicate(timeout=60)
    assert killed.returncode == 137
    search = only()
    status = [RunDir.open(search / "batches" / name).status for name in ("00", "00/00", "01", "01/00", "01/01")]
    assert status == ["finished", "finished", "interrupted", "interrupted", "interrupted"]
    done = reference.fingerprints(search / "batches" / "00")
    (search / "optuna.jsonl").write_bytes(b"\x80\x04not json\n")
    (search / "optuna.jsonl.lock").touch()

    assert main(["resume", "latest"]) == 0
    assert f"search      {search}" in capsys.readouterr().out
    assert tried(search) == tried(whole)
    assert reference.fingerprints(search / "batches" / "00") == done, "what was done is not done again"
    for name in ("00/00", "01/00", "01/01"):
        reference.same_training(whole / "batches" / name, search / "batches" / name)
    assert reference.files(whole) == reference.files(search)
    assert main(["resume", str(search)]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert main(["verify", str(search)]) == 0


@pytest.mark.slow
def test_the_command_that_it_names_trains_the_best_again(tiny_teacher: RunDir) -> None:
    assert main(line(tiny_teacher, "--quiet")) == 0
    best = summary(only())["best"]
    again = shlex.split(best["rerun"])
    assert again[:2] == ["kd", "distill-student"]
    assert main([*again[1:], "--progress=none", "--quiet"]) == 0
    (rerun,) = Path("outputs/distill-student").iterdir()
    assert reference.summary(rerun)["val"]["top1"] == pytest.approx(best["value"], abs=2e-3)
    assert reference.summary(rerun)["baseline"] is not None


def test_trials_that_diverge_fail_and_do_not_stop_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    rates = ["optimizer=sgd", "optimizer.lr=0.001,100,0.003", "lr_schedule=constant", "epochs=2"]
    words = ["search", "train-teacher", *TINY, *rates, "search.trials=9", "search.batch=2", "search.objective=nll"]
    assert main(words) == 7
    said = capsys.readouterr()
    assert "1 of 3 trials reached nothing:" in said.out
    assert "1 of 3 trials did not finish" in said.err
    content = summary(only())
    assert {trial["values"]["optimizer.lr"]: trial["status"] for trial in content["trials"]} == {
        "0.001": "finished", "100": "diverged", "0.003": "finished",
    }  # fmt: skip
    values = {trial["values"]["optimizer.lr"]: trial["value"] for trial in content["trials"]}
    assert values["100"] is None
    assert content["objective"] == "val/nll"
    assert content["best"]["value"] == min(values["0.001"], values["0.003"])
    trials = [trial for trial in journal(only()).trials if LEFT_OUT not in trial.user_attrs]
    told = {trial.params["optimizer.lr"]: trial.state.name for trial in trials}
    assert len(trials) == 3
    assert told == {"0.001": "COMPLETE", "100": "FAIL", "0.003": "COMPLETE"}
    assert RunDir.open(only()).record.status == "failed"
    before = reference.fingerprints(only() / "batches" / "00" / "00")
    assert main(["resume", str(only())]) == 7
    assert reference.fingerprints(only() / "batches" / "00" / "00") == before


BREAKING = """
from pathlib import Path
import torch

class Net(torch.nn.Linear):
    def __init__(self, *_, **__):
        super().__init__(784, 10)
        self.calls = 0

    def forward(self, images):
        self.calls += self.training
        if self.calls > 5 and Path("broken").exists():
            raise RuntimeError("it breaks here")
        return super().forward(images.flatten(1))
"""


def test_a_batch_that_fails_as_a_whole_stops_the_search_until_it_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    Path("search_breaking_nets.py").write_text(BREAKING)
    Path("mine/model").mkdir(parents=True)
    Path("mine/model/own.yaml").write_text("kind: custom\ntarget: search_breaking_nets:Net\narguments: {}\n")
    params = "hydra:\n  sweeper:\n    params:\n      optimizer.lr: interval(0.001,0.1)\n"
    Path("mine/my_search.yaml").write_text(f"defaults:\n  - train_teacher\n  - _self_\n{params}")
    Path("broken").touch()
    words = ["search", "train-teacher", *TINY[:4], "model=own", "--config-dir=mine", "--config-name=my_search"]
    assert main([*words, "search.trials=3", "search.batch=2", "--quiet", "--progress=none"]) == 7
    assert "none of 2 trials came to its end: RuntimeError: it breaks here" in capsys.readouterr().err
    assert [path.name for path in (only() / "batches").iterdir()] == ["00"]
    Path("broken").unlink()
    assert main(["resume", "latest"]) == 2, "its YAML can name code"
    assert main(["resume", "latest", "trust_code=true", "--quiet", "--progress=none"]) == 0
    assert [sorted(values) for values, _ in tried(only())] == [["optimizer.lr"]] * 3
    assert "--config-name=my_search" in summary(only())["best"]["rerun"]


REFUSED: dict[str, str] = {
    "search": "needs the command whose settings are searched",
    "search train-techer seed=1": "did you mean 'train-teacher'?",
    "search train-teacher epochs=1,2 search.trails=3": "did you mean 'trials'?",
    "search train-teacher epochs=1,2 search.objective=test": "allowed: 'top1' or 'nll'",
    "search train-teacher epochs=1,2 dataset.val_fraction=0 select=last": "a search chooses by validation",
    "search train-teacher epochs=1,2 members=3": "an ensemble (members=3) has no measure on validation",
    "search train-teacher epochs=1,2 +model@other=mlp_30": "unknown key 'other'",
    "search train-teacher temperature=interval(0,2)": "temperature.value = 0.0 is out of range",
    "search train-teacher model=mlp_30,mlp_9999": "no option 'mlp_9999' in model",
    "search train-teacher epochs=1,2 hydra/sweeper=kd": "hydra/sweeper",
    "search distill-student alpha=interval(0,1)": "teacher must be given",
    "search distill-student alpha=interval(0,1) teacher=gone": "there is no run 'gone'",
    "search train-teacher epochs=1,2 -m": "kd search does not take --multirun",
}


@pytest.fixture(scope="module")
def refused(kd_lines: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("refused")
    found = kd_lines([words.split() for words in REFUSED], cwd=folder)
    assert not list(folder.iterdir())
    return dict(zip(REFUSED, found, strict=True))


@pytest.mark.parametrize("words", REFUSED)
def test_refusals_come_before_torch_and_write_nothing(refused: dict[str, Any], words: str) -> None:
    outcome = refused[words]
    assert (outcome.code, outcome.out) == (2, "")
    assert REFUSED[words] in outcome.err
    assert "torch" not in outcome.imported


def test_without_optuna_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['optuna'] = None; from kdcli.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "search", "train-teacher", "epochs=1,2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 6
    assert "pip install 'kdcli[search]'" in done.stderr
    assert not Path("outputs").exists()


def test_a_dry_run_says_what_would_be_searched(tiny_teacher: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*line(tiny_teacher), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "5 trials in 2 batches, the best by top1 on validation" in said
    assert shlex.join(SPACE) in said
    assert not Path("outputs").exists()


@pytest.fixture(scope="module")
def smoke_search(tiny_teacher: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke search, whose process ended before it could say so."""
    folder = tmp_path_factory.mktemp("smoke")
    assert main([*line(tiny_teacher), f"output_dir={folder}", "--smoke", "--quiet"]) == 0
    path = only(str(folder))
    assert [len(reference.summary(path / "batches" / name)["jobs"]) for name in ("00", "01")] == [2, 2]
    RunDir.open(path).set_status("failed")
    return path


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_search_of_another_s_is_not_trusted(smoke_search: Path, capsys: pytest.CaptureFixture[str]) -> None:
    altered: Sequence[tuple[str, str, str, int, str]] = [
        ("config.yaml", "- epochs=1", "- hydra.run.dir=/", 4, "kd's own alone"),
        ("config.yaml", "- epochs=1", "- +x@hydra.callbacks=y", 4, "kd's own alone"),
        ("config.yaml", "config_dir: null", "config_dir: /tmp", 2, "trust_code=true"),
        ("config.yaml", "- model=mlp_30", "- model=custom\n- model.target=os:getcwd", 2, "trust_code=true"),
        ("config.yaml", "interval(1,20)", "interval(1,1.5)", 4, "is no trial of this search"),
        ("config.yaml", "trials: 4", "trials: many", 4, "search.trials"),
        ("batches/00/ledger.jsonl", '"alpha=', '"alpha=7', 4, "is no trial of this search"),
        ("batches/00/00/config.yaml", "trust_code: false", "trust_code: true", 2, "trust_code=true"),
    ]
    for name, old, new, code, what in altered:
        copy = Path("copy")
        shutil.copytree(smoke_search, copy)
        if "custom" in new:  # as if more trials were wanted than there are
            rewrite(copy / "config.yaml", "trials: 4", "trials: 9")
        rewrite(copy / name, old, new)
        assert (main(["resume", str(copy), "--quiet", "--progress=none"]), new) == (code, new)
        assert what in capsys.readouterr().err
        shutil.rmtree(copy)


def test_a_link_where_batches_are_kept_is_refused(smoke_search: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(smoke_search, "copy")
    Path("copy/batches").rename("elsewhere")
    Path("copy/batches").symlink_to(Path("elsewhere").resolve())
    assert main(["resume", "copy"]) == 4
    assert "a symbolic link where sweeps are kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("kd search ", ["train-teacher", "distill-student"]),
        ("kd search dis", ["distill-student"]),
        ("kd search distill-student search.", ["search.trials=", "search.batch=", "search.objective="]),
        ("kd search distill-student sea", ["search."]),
        ("kd search distill-student search.objective=n", ["search.objective=nll"]),
        ("kd search distill-student model=mlp_12", ["model=mlp_1200"]),
        ("kd search train-teacher dataset.val_s", ["dataset.val_seed="]),
        ("kd search train-teacher teach", []),
        ("kd search train-teacher --config-", ["--config-dir", "--config-name"]),
    ],
)
def test_completion(words: str, found: list[str]) -> None:
    assert candidates(words) == found


FAILPOINTS = ("run.json.replace", "run.json.replaced", "state.json.fsync", "summary.json.50", "commit.renamed")


@pytest.mark.slow
def test_a_search_outlives_any_number_of_kills(tiny_teacher: RunDir) -> None:
    """Each process is killed where it writes some file, until one comes to its end."""
    words = line(tiny_teacher, "search.trials=8", "search.batch=2", "--quiet")
    assert main([*words, "output_dir=whole"]) == 0
    codes: list[int] = []
    while 0 not in codes:
        where = random.choice(FAILPOINTS)
        count = random.randint(1, 12)
        with process(*words, KD_FAILPOINT=f"{where}:{count}") as running:
            running.communicate(timeout=120)
        codes.append(running.returncode)
        if list(Path("outputs").glob("search/*/run.json")):
            words = ["resume", str(only()), "--quiet", "--progress=none"]
        assert set(codes) <= {0, 137}
        assert len(codes) < 40
    assert codes.count(137) > 0
    assert tried(only()) == tried(only("whole"))
    assert main(["verify", str(only())]) == 0
