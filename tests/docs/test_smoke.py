"""The commands of README and docs that can run here do, at smoke scale; why the others cannot is said line by line."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from kdcli.__main__ import main
from tests.docs import shell

pytestmark = pytest.mark.xdist_group("docs_smoke")

TRAININGS = ("train-teacher", "distill-student", "train-specialists")
TINY = ("model=mlp_30", "transfer.fraction=0.02", "epochs=1", "batch_size=32", "device=cpu", "--quiet")
PREPARED = ("mnist", "letter", "letter_p1")
FLOOR = 90
RULES = (
    (r"members/00|full-1a2b3c4d|SEARCH", "a run that is only an example"),
    (r"custom|nets:|losses:|\.(pth?|safetensors)\b|imagefolder|csv", "the reader's own files: test_docs_own_data.py"),
    (r"^study (?!quickstart|my_study)", "a study: tests/studies and tests/cli/test_study_command.py run all of them"),
    (r"^runs (rm|restore)", "it takes runs away: tests/cli/test_runs.py"),
    (r"\[(TEACHER|outputs)|outputs/\w[\w-]*/[AB]\b", "two runs of the reader's: tests/cli/test_evaluate.py"),
    (r"\$\{|trust_code", "code of the reader's"),
)
"""Patterns of lines that are not run, each with the reason."""


def reason(line: shell.Line) -> str:
    """Why a line is not run; empty where it is."""
    text = " ".join(line.words)
    if line.page == "docs/own_data.md":
        return "tests/cli/test_docs_own_data.py follows the page word for word"
    return line.elsewhere or next((why for pattern, why in RULES if re.search(pattern, text)), "")


LINES = list({line.words: line for page in shell.PAGES for line in shell.lines_of(page)}.values())
RUN = [line for line in LINES if not reason(line)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs with a teacher, a student, a sweep, and a teacher of each other data set that the pages use."""
    root = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for dataset in PREPARED[1:]:
            assert main(["train-teacher", f"dataset={dataset}", *TINY, f"output_dir={dataset}"]) == 0
        assert main(["train-teacher", *TINY]) == 0
        assert main(["distill-student", "teacher=latest", "-m", "temperature=1,4", "alpha=0.5,0.9", *TINY]) == 0
        assert main(["distill-student", "teacher=latest", *TINY]) == 0
        if find_spec("onnxscript"):
            assert main(["export", "latest", "file=model.onnx"]) == 0
    return root


@pytest.fixture
def here(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared outputs, which a page may add to."""
    copied = tmp_path / "copy"
    shutil.copytree(prepared, copied)
    monkeypatch.chdir(copied)
    return copied


def smoke(line: shell.Line, here: Path) -> list[str]:
    """The line with real names for placeholders and a teacher of its data, made small."""
    words = list(line.words)
    if words.count("RUN") > 1:  # the second one is to be another
        words[words.index("RUN") + 1] = "TEACHER"
    words = [_filled(word, here) for word in words]
    if words[0] in (*TRAININGS, "search"):
        data = next((word.partition("=")[2] for word in words if word.startswith("dataset=")), "mnist")
        words = [_teacher(word, data, here) for word in words if not word.startswith("--progress")]
        words = [re.sub(r"^transfer\.cases=.*", "transfer.cases=500", word) for word in words]
        words += ["model.library=small"] * ("model=selection" in words)
        return [*words, "--quiet"] if "--cfg" in words or "--dry-run" in words else [*words, "--smoke", "--quiet"]
    return (
        [*words, "--smoke", "--quiet"] if words[0] == "study" and len(words) > 1 and "--dry-run" not in words else words
    )


def _filled(word: str, here: Path) -> str:
    names = {"SWEEP": "sweeps", "RUN": "distill-student", "STUDENT": "distill-student", "TEACHER": "train-teacher"}
    for placeholder, folder in names.items():
        found = next((here / "outputs" / folder).iterdir()).name
        word = re.sub(rf"outputs/[\w-]+/{placeholder}\b", f"outputs/{folder}/{found}", word)
        word = re.sub(rf"\b{placeholder}\b", found, word)
    return word


def _teacher(word: str, data: str, here: Path) -> str:
    if word != "teacher=latest":
        return word
    root = here / ("outputs" if data == "mnist" else data) / "train-teacher"
    return f"teacher={next(root.iterdir())}"


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({line.page for line in RUN}))
def test_the_commands_of_a_page_run(page: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```yaml\n(.*?)```", (shell.ROOT / "docs/commands/study.md").read_text(), re.DOTALL)
    assert example is not None
    (here / "my_study.yaml").write_text(example[1], encoding="utf-8")
    for block, path in re.findall(r"```yaml\n(# (\S+\.yaml): .*?)```", (shell.ROOT / page).read_text(), re.DOTALL):
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_text(block, encoding="utf-8")
    wrong = []
    for line in RUN:
        if line.page == page:
            words = smoke(line, here)
            code = main(words)
            said = capsys.readouterr().err
            nothing_left = words[0] == "resume" and "there is no" in said
            if code != 0 and not nothing_left:
                wrong.append(f"{line}\n    kd {' '.join(words)}: {code}\n{said}")
    assert not wrong, "\n".join(wrong)


def test_most_lines_run_and_every_other_has_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    counted = Counter(reason(line) or "run at smoke scale" for line in LINES)
    with capsys.disabled():
        print("\n" + "\n".join(f"{count:4}  {why}" for why, count in counted.most_common()))  # noqa: T201
    assert len(RUN) >= FLOOR
