"""Every kd command of README and docs is one: it is read by the front end, composes, and passes the schema."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from os.path import relpath
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.types import RunMode

from kdcli.__main__ import _check_taken, main
from kdcli.commands import COMMANDS
from kdcli.commands.composed import typed
from kdcli.commands.composer import Composer
from kdcli.commands.conf_files import conf_dir, options
from kdcli.commands.flags import parse_line
from kdcli.commands.hydra_app import prepare
from kdcli.commands.request import Request
from tests.docs import shell

pytestmark = pytest.mark.xdist_group("docs")


LINES = list({line.words: line for page in shell.PAGES for line in shell.lines_of(page)}.values())
FLOOR = 140
"""Lines that must at least be found: a block that is no longer read would otherwise pass unseen."""
LAUNCHER = ("hydra/launcher=", "hydra.launcher.")
NO_RUN = re.compile(r"there is no run|there is no finished|nothing to |0 runs in|no run")


@pytest.fixture(scope="module", autouse=True)
def _empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        here = tmp_path_factory.mktemp("reader")
        patch.chdir(here)
        example = re.search(r"```yaml\n(.*?)```", (shell.ROOT / "docs/commands/study.md").read_text(), re.DOTALL)
        assert example is not None
        (here / "my_study.yaml").write_text(example[1], encoding="utf-8")
        page = (shell.ROOT / "docs/commands/help.md").read_text(encoding="utf-8")
        for name, text in re.findall(r"```yaml\n# (mine/\S+\.yaml):.*?\n(.*?)```", page, re.DOTALL):
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_text(text, encoding="utf-8")
        yield


@cache
def _composer(command: str) -> Composer:
    prepare()
    hydra = Hydra.create_main_hydra2("kd", create_config_search_path(str(conf_dir())))
    try:
        name = COMMANDS[command].config_name
        master = hydra.compose_config(name, [], run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        return Composer(hydra.config_loader, master)
    finally:
        GlobalHydra.instance().clear()


def _first(word: str) -> str:
    """A swept override with the first of its values, an interval with its lower end."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        return f"{override.get_key_element()}={value.start}"
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def _compose(command: str, words: list[str]) -> None:
    """As Hydra would compose the first job, and as the schema would check it."""
    request = Request.of(command, [word for word in words if not word.startswith(LAUNCHER)])
    given = request.chosen().keys()
    needed = [f"{key}=latest" for key in ("teacher", "run") if key not in given and command in _NEEDS.get(key, ())]
    composition = _composer(command).compose(0, [*needed, *map(_first, request.overrides)])
    typed(composition.data, request)


_NEEDS = {"teacher": ("distill-student", "train-specialists"), "run": ("evaluate",)}


def _check(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """What can be checked of a line where there is no run.

    Raises:
        KDError: The line is wrong.
    """
    line = parse_line(list(words))
    name, *rest = line.words
    assert name in COMMANDS, f"there is no command {name}"
    command = COMMANDS[name]
    _check_taken(line.special, command, command.flags)
    if line.help or name == "doctor":
        return
    if "--config-dir" in words:
        assert main([*words, "--cfg=job"]) == 0, capsys.readouterr().err
        return
    if command.composed:
        _compose(name, [*rest, *line.hydra])
        return
    _check_taken(line.hydra, command, command.hydra_flags)
    if name == "data":
        _compose("distill-student", [word for word in rest if word != "show"])
    elif name == "search":
        _compose(rest[0], [word for word in rest[1:] if not word.startswith("search.")])
    else:
        _run(words, ["--dry-run"] if name == "study" else [], capsys)


def _run(words: tuple[str, ...], more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run a line that reads: it is right, or all that is wrong is that the run is not there."""
    code = main([*words, *more])
    said = capsys.readouterr().err
    assert code == 0 or (code == 2 and words[0] != "study" and NO_RUN.search(said)), said


@pytest.mark.parametrize("page", shell.PAGES, ids=lambda page: str(page.relative_to(shell.ROOT)))
def test_every_line_of_a_page_is_a_command(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, wrong = str(page.relative_to(shell.ROOT)), []
    for line in LINES:
        if line.page == name:
            try:
                _check(line.words, capsys)
            except Exception as problem:
                wrong.append(f"{line}\n    {type(problem).__name__}: {problem}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("distill-student teacher=latest temprature=4", "temprature"),
        ("distill-student teacher=latest -m alpha=0.5,1.5 temperature=0,1", "temperature"),
        ("train-teacher --epochs=3", "--epochs"),
        ("train-techer", "train-techer"),
        ("train-teacher --config-dir mine model=tinny", "tinny"),
        ("search distill-student teacher=latest 'alpha=interval(-1,1)'", "alpha"),
        ("data show dataset=mnits", "mnits"),
        ("study hinton2015/no_fours", "no_fours"),
        ("study hinton2015/no_threes omits=[5]", "omits"),
        ("runs colour=red", "colour"),
        ("compare --last 2 --format pdf", "pdf"),
        ("verify --last 2", "--last"),
    ],
)
def test_a_wrong_line_is_found(words: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match=named):
        _check(tuple(shlex.split(words)), capsys)


def test_the_lines_were_found(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{len(LINES)} different kd lines on {len({line.page for line in LINES})} pages")  # noqa: T201
    assert len(LINES) >= FLOOR


def test_every_command_has_a_page_and_a_line() -> None:
    for name in COMMANDS:
        assert (shell.ROOT / "docs" / "commands" / f"{name}.md").is_file(), name
        assert any(line.words[0] == name for line in LINES), name


def test_every_loss_and_study_has_a_page_with_a_line_and_is_in_its_list() -> None:
    losses, studies = shell.ROOT / "docs" / "losses", shell.ROOT / "docs" / "studies"
    for loss in options("loss"):
        assert f"]({loss}.md)" in _read(losses / "README.md"), loss
        assert any(
            f"loss={loss}" in line for line in _read(losses / f"{loss}.md").splitlines() if line[:7] == "    kd "
        ), loss
    files = shell.ROOT / "conf" / "study"
    names = [str(path.relative_to(files).with_suffix("")) for path in files.rglob("*.yaml")]
    assert len(names) > 15
    for study in names:
        assert f"({study}/README.md)" in _read(studies / "README.md"), study
        assert f"    kd study {study}" in _read(studies / study / "README.md"), study


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_page_is_in_an_index_and_every_link_leads_somewhere() -> None:
    docs = shell.ROOT / "docs"
    for page in shell.PAGES[1:]:
        indices = [docs / "README.md", docs / "losses" / "README.md", docs / "studies" / "README.md"]
        assert page.name == "README.md" or any(
            f"({relpath(page, index.parent)})" in _read(index) for index in indices
        ), page
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", _read(page)):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
