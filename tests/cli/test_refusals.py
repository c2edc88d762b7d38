"""Wrong settings: refused before torch is imported, in one screen that names the key and what is allowed or near."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdcli import errors

pytestmark = pytest.mark.xdist_group("refusals")

STUDENT = "distill-student teacher=latest "
# The line, and what its error must say.
REFUSED: dict[str, tuple[str, ...]] = {
    STUDENT + "temperature=0": ("temperature.value", "= 0", "[0.01, 10000]"),
    STUDENT + "temperature=-1": ("temperature.value", "= -1", "[0.01, 10000]"),
    STUDENT + "temperature=nan": ("temperature.value", "= nan", "finite"),
    STUDENT + "temperature=inf": ("temperature.value", "= inf"),
    STUDENT + "temperature=4x": ("no option '4x' in temperature", "cosine", "or any number"),
    STUDENT + "temperature=[1,2]": ("no option '[1,2]' in temperature",),
    STUDENT + "temperature=null": ("no option 'null' in temperature",),
    STUDENT + "temperature=1,2": ("temperature=1,2 lists several values", "-m"),
    STUDENT + "members=3": ("does not take 'members'; kd train-teacher does",),
    "train-teacher teacher=latest": ("kd distill-student and kd train-specialists do",),
    "evaluate run=A,B": ("do: write 'run=[A,B]' if",),
    STUDENT + "temperature.start=8": ("temperature.start", "temperature=linear"),
    STUDENT + "alpha=1.5": ("alpha.value", "= 1.5", "[0, 1]"),
    STUDENT + "alpha=-0.5": ("alpha.value", "= -0.5", "[0, 1]"),
    STUDENT + "epochs=many": ("epochs", "'many'", "whole number"),
    STUDENT + "batch_size=0": ("batch_size", "= 0"),
    STUDENT + "epochs=0 batch_size=0": ("\n       batch_size = 0", "'kd distill-student --cfg job'"),
    STUDENT + "dataset.views=shfit": ("'none', 'shift', 'flip', 'crop' or 'elastic'; did you mean 'shift'?",),
    STUDENT + "device=gpu": ("auto, cpu, mps, cuda, or one GPU of several, such as cuda:1",),
    STUDENT + "seed=18446744073709551616": ("seed", "18446744073709551616"),
    STUDENT + "seed=010": ("seed", "'010'"),
    STUDENT + "model=mlp_80": ("no option 'mlp_80' in model", "did you mean 'model=mlp_800'?", "lenet"),
    STUDENT + "model=3": ("no option '3' in model",),
    STUDENT + "hydra/launcher=joblob": ("no option 'joblob' in hydra/launcher", "basic"),
    STUDENT + "temprature=4": ("unknown key 'temprature'", "did you mean 'temperature'?"),
    STUDENT + "dataset.val_fration=0.2": ("did you mean 'dataset.val_fraction'?",),
    STUDENT + "lr=0.1": ("unknown key 'lr'", "did you mean 'optimizer.lr'?"),
    STUDENT + "loss.bogus=3": ("unknown key 'loss.bogus'", "loss.label_smoothing"),
    STUDENT + "+loss.bogus=3": ("loss.bogus",),
    STUDENT + "hydra.foo=1": ("unknown key 'hydra.foo'",),
    STUDENT + "+temperature=4": ("leave out the plus", "temperature=4"),
    STUDENT + "++model=mlp": ("leave out the plus",),
    STUDENT + "loss=[1": ("cannot read 'loss=[1'",),
    STUDENT + "output_dir=a:b=c": ("cannot read 'output_dir=a:b=c'", "'output_dir=\"a:b=c\"'"),
    STUDENT + "output_dir=\x1b[31m": ("cannot read 'output_dir=\\x1b[31m'",),
    STUDENT + "mnist": ("'mnist' sets nothing", "dataset=mnist"),
    STUDENT + "epochs": ("'epochs' sets nothing", "key=value, for example epochs=VALUE"),
    STUDENT + "latest": ("'latest' sets nothing", "for example epochs=5"),
    STUDENT + "model": ("'model' sets nothing", "model=VALUE"),
    "distill-student latest": ("'latest' sets nothing", "teacher=latest"),
    "runs --sort top1": ("did you mean 'sort=top1'?",),
    STUDENT + "=3": ("'=3' sets nothing",),
    "evaluate one two": ("'two' is one too many beside 'one'", "run=[RUN,RUN]"),
    "import one.pt two.pt model=lenet mean=0 std=1": ("'two.pt' is one too many",),
    "import nosuch.pt model=lenet mean=0 std=1": ("there is no file 'nosuch.pt'", "do: ", ".safetensors"),
    STUDENT + "epochs=${seed} seed=${epochs}": ("cannot be resolved", "back to itself"),
    STUDENT + "transfer.only=[${nope}]": ("transfer.only[0] cannot be resolved",),
    STUDENT + "epochs=${oc.env:KD_NO_SUCH_VARIABLE}": ("KD_NO_SUCH_VARIABLE",),
    STUDENT + "hydra.run.dir=x": ("hydra.run.dir", "output_dir="),
    STUDENT + "-m hydra.sweep.dir=x": ("hydra.sweep.dir", "output_dir="),
    STUDENT + "hydra/sweeper=basic": ("hydra/sweeper",),
    STUDENT + "--config-dir=/no/such": ("no directory /no/such",),
    STUDENT + "--config-name=nothing": ("no file nothing.yaml",),
    STUDENT + "-m --cfg job": ("exclude each other",),
    STUDENT + "--resolve": ("--resolve belongs to --cfg",),
    STUDENT + "--cfg job alpha=1.5": ("alpha.value", "[0, 1]"),
    STUDENT + "--cfg job --package nope": ("no part 'nope'",),
    STUDENT + "dataset=csv": ("dataset.path, dataset.target must all be given", "dataset.path=FILE.csv"),
    "distill-student": ("teacher must be given", "teacher=latest"),
    "distill-student --cfg job loss.label_smoothing=2": ("loss.label_smoothing", "[0, 1]"),
    "evaluate": ("run must be given", "run=latest"),
    "evaluate run=latest temperature=4": ("unknown key 'temperature'",),
    STUDENT + "-m temperature=0,1 alpha=0.5,1.5": ("3 of 4 jobs", "temperature=0 alpha=0.5", "alpha.value = 1.5"),
    STUDENT + "-m epochs=0 temperature=0,1": ("job 0 (temperature=0): temper", "job 0 (temperature=0) and 1 more: epo"),
    "export latest format=onxn": ("format=onxn is not known; did you mean 'onnx'?",),
    "study quickstart budget=shrot": ("budget=shrot is not known; did you mean 'short'?",),
    STUDENT + "-m model=mlp_800,nope seed=1,2": ("2 of 4 jobs", "job 2 (model=nope seed=1) and 1 more", "lenet"),
    STUDENT + "-m seed=1,2,3 batch_size=0": ("3 of 3 jobs", "batch_size = 0"),
    STUDENT + "-m alpha=interval(0,1)": ("an interval has no list of values", "range("),
    STUDENT + "-m model=glob(nothing*)": ("the sweep has no job",),
    STUDENT + "-m hydra.sweeper.params={temperature:'0,1'}": ("1 of 2 jobs", "temperature.value"),
    "distill-student -m seed=1,2": ("2 of 2 jobs", "teacher must be given"),
}


@pytest.fixture(scope="module")
def outcomes(kd_lines: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    empty = tmp_path_factory.mktemp("empty")
    refused = dict(zip(REFUSED, kd_lines([line.split(" ") for line in REFUSED], cwd=empty), strict=True))
    assert list(empty.iterdir()) == []
    return refused


@pytest.mark.parametrize("line", REFUSED)
def test_refused_with_exit_code_2_and_a_message_that_helps(outcomes: dict[str, Any], line: str) -> None:
    refused = outcomes[line]
    assert (refused.code, refused.out) == (2, "")
    for part in REFUSED[line]:
        assert part in refused.err
    assert len(refused.err.splitlines()) <= 24
    assert "where: " in refused.err
    assert "   do: " in refused.err


def test_no_refusal_imports_torch(outcomes: dict[str, Any]) -> None:
    assert not any("torch" in outcome.imported for outcome in outcomes.values())


def test_no_message_is_hydra_s_own(outcomes: dict[str, Any]) -> None:
    foreign = ("LexerNoViableAlt", "mismatched input", "Traceback", "HYDRA_FULL_ERROR", "hydra.cc", "full_key")
    assert [line for line, outcome in outcomes.items() if any(word in outcome.err for word in foreign)] == []


def test_an_error_is_the_same_in_a_process_of_its_own(kd: Callable[..., Any], outcomes: dict[str, Any]) -> None:
    line = STUDENT + "alpha=1.5"
    alone = kd(*line.split(), "--json")
    assert (alone.code, alone.out, alone.err) == (2, "", outcomes[line].err)


def test_every_error_in_the_code_says_what_to_do() -> None:
    kinds = {name for name, kind in vars(errors).items() if getattr(kind, "usual_fix", "") is None}
    assert {"UsageError", "DataError", "MachineError", "DivergedError"} <= kinds
    silent = [
        f"{path}:{node.lineno}"
        for path in Path(errors.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
        if not any(keyword.arg == "fix" for keyword in node.keywords)
    ]
    assert silent == []
