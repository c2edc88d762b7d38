"""The kd command lines of README and docs: where they stand, and what is in the way of running one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SHELL = {"bash", "sh"}
_ENDS = {"|", "||", "&", "&&", ";"}
_PACKAGES = {
    "hydra/launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "hydra/launcher=submitit_local": "submitit",
    "hydra/launcher=submitit_slurm": "submitit",
    "hydra/launcher=ray": "ray",
    "tracker=tensorboard": "tensorboard",
    "tracker=mlflow": "mlflow",
    "tracker=wandb": "wandb",
    "model=timm": "timm",
    "model=selection": "sklearn",
    "search": "optuna",
    "export": "onnxscript",
    "run=model.onnx": "onnxscript",
}
_INDENTED = re.compile(r" {4,}(kd |torchrun |eval |\.venv/|python)")
PLACEHOLDERS = ("RUN", "SWEEP", "SEARCH", "TEACHER", "STUDENT", "FILE", "DIR", "HOST", "COMMAND")
"""What stands for a name of the reader's own."""


@dataclass(frozen=True)
class Line:
    """One command line of a page.

    Args:
        page: The page, as a path inside the repository.
        words: What follows ``kd``.
        several: It is started by torchrun.
    """

    page: str
    words: tuple[str, ...]
    several: bool = False

    def __str__(self) -> str:
        return f"{self.page}: kd {shlex.join(self.words)}"

    @property
    def placeholders(self) -> list[str]:
        """Names that the reader has to put in."""
        text = " ".join(self.words)
        return [name for name in PLACEHOLDERS if re.search(rf"(?<![A-Z_]){name}(?![A-Z_])", text)]

    @property
    def elsewhere(self) -> str:
        """Why it cannot run on any machine that runs the tests; empty where it can."""
        text = " ".join(self.words)
        if self.several or "hydra/launcher=submitit_slurm" in text or "hydra/launcher=ray" in text:
            return "several processes or machines"
        if re.search(r"dataset=(fashion_mnist|cifar)|pretrained=true", text):
            return "a download"
        if re.search(r"output_dir=/", text):
            return "a place of the reader's"
        needed = (package for word, package in _PACKAGES.items() if word in self.words)
        return next((f"needs {package}" for package in needed if _lacks(package)), "")


def _lacks(package: str) -> bool:
    try:
        return find_spec(package) is None
    except ModuleNotFoundError:
        return True


def lines_of(page: Path) -> Iterator[Line]:
    """All kd lines of the shell blocks and indented blocks of a page."""
    name = str(page.relative_to(ROOT))
    for text in _shell_lines(page.read_text(encoding="utf-8")):
        text = re.sub(r'eval "\$\((.*)\)"', r"\1", text)
        for words in _programs(text):
            if words[0] == "torchrun" and "-m" in words:
                yield Line(name, tuple(words[words.index("-m") + 2 :]), several=True)
            elif words[0].rpartition("/")[2] == "kd":
                yield Line(name, tuple(words[1:]))


def _shell_lines(text: str) -> Iterator[str]:
    fence = None
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.startswith("```"):
            fence = None if fence is not None else line.removeprefix("```")
        elif fence in _SHELL or (fence is None and _INDENTED.match(line)):
            yield line.strip()


def _programs(text: str) -> Iterator[list[str]]:
    """The programs of a line, each as its words, without redirections and three dots."""
    reader = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    reader.whitespace_split = True
    words: list[str] = []
    tokens = [*reader, ";"]
    for place, token in enumerate(tokens):
        if token in _ENDS:
            if words:
                yield words
            words = []
        elif token not in (">", "<", "...") and (place == 0 or tokens[place - 1] not in (">", "<")):
            words.append(token)
