"""README and the tutorial as a reader follows them: every kd line as it stands, one after another, in one directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import shell

FOLLOWED = ("README.md", "docs/tutorial.md")


@pytest.mark.hours
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_can_be_followed_word_for_word(page: str, tmp_path: Path) -> None:
    lines = list(shell.lines_of(shell.ROOT / page))
    assert lines
    for line in lines:
        done = subprocess.run(
            [sys.executable, "-m", "kdcli", *line.words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        nothing_left = line.words[0] == "resume" and "there is no run that can go on" in done.stderr
        assert done.returncode == 0 or nothing_left, f"{line}\n{done.stderr}"
