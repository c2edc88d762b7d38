"""docs/own_data.md, followed word for word from an empty directory."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from kdcli.__main__ import main

TEXT = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def follow(kind: str, block: str) -> None:
    """Write a file that its first line names, or run the lines of a shell."""
    if kind == "python":
        name = block.splitlines()[0].removeprefix("# ")
        assert re.fullmatch(r"\w+\.py", name)
        Path(name).write_text(block, encoding="utf-8")
        return
    for line in block.splitlines():
        program, *words = shlex.split(line)
        if program == "python":
            runpy.run_path(words[0])
        else:
            assert program == "kd"
            quiet = ["--quiet"] if words[0] in ("export", "evaluate", "import") else ["--quiet", "--progress=none"]
            assert main([*words, *quiet]) == 0, line


@pytest.mark.slow
def test_the_examples_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    for name in ("nets", "losses", "shapes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for kind, block in BLOCKS:
        follow(kind, block)
    assert len(list(Path("digits").rglob("*.png"))) == 800
    assert len(list(Path("outputs").glob("distill-student/*/export/model.onnx"))) == 2
    assert len(list(Path("outputs").glob("import/*/summary.json"))) == 1
    learned = [json.loads(path.read_text())["test"]["top1"] for path in Path("outputs").rglob("*Z-*/summary.json")]
    assert len(learned) == 7
    assert min(learned) > 0.8  # nobody shows a friend a network that guesses
    assert "same class 100.00 %" in capsys.readouterr().out


def test_every_block_of_the_page_is_a_file_or_commands() -> None:
    assert [kind for kind, _ in BLOCKS] == ["python", "sh"] * 5
    assert TEXT.count("```") == 2 * len(BLOCKS)
