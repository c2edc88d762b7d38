"""``kd search COMMAND``: try values of any keys, each batch as one sweep, and find the best on validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from kdcli.commands.conf_files import conf_dir
from kdcli.commands.flags import Flags
from kdcli.commands.hydra_app import run_task
from kdcli.commands.nearest import did_you_mean
from kdcli.commands.request import Request
from kdcli.errors import CheckpointError, UsageError
from kdcli.rundir import RunDir
from kdcli.rundir.find import TEACHERS
from kdcli.schema import convert
from kdcli.schema.search import SearchFile, SearchSection, SearchSettings
from kdcli.yaml_io import load_yaml

_OWN = "search."


def run(args: list[str], flags: Flags) -> int:
    """Search over the settings of the command that the first word names."""
    from kdcli.commands.search_start import for_smoke
    from kdcli.commands.searcher import SearchTask, install

    command = _command([arg for arg in args if "=" not in arg and not arg.startswith("-")])
    settings = _settings([arg for arg in args if arg.startswith(_OWN)])
    others = [arg for arg in args if arg != command and not arg.startswith(_OWN)]
    install()
    request = Request.of(command, [*others, "--multirun"])
    return run_task(request, SearchTask(request, flags, for_smoke(settings) if flags.smoke else settings))


def _command(words: Sequence[str]) -> str:
    fix = "kd search distill-student teacher=latest 'temperature=interval(1,20)' alpha=0.3,0.5,0.9"
    if not words:
        raise UsageError("kd search needs the command whose settings are searched", where="search", fix=fix)
    if words[0] not in TEACHERS:
        what = f"kd search cannot search over {words[0]!r}{did_you_mean(words[0], TEACHERS)}"
        raise UsageError(what, where="search", fix=f"one of: {', '.join(TEACHERS)}")
    return words[0]


def _settings(words: Sequence[str]) -> SearchSettings:
    """The settings of the search: those of ``conf/search.yaml``, and the user's own.

    Raises:
        UsageError: An unknown one, or a wrong value.
    """
    content: dict[str, Any] = load_yaml(conf_dir() / "search.yaml", error=UsageError, follow=True)
    for word in words:
        key, _, value = word.removeprefix(_OWN).partition("=")
        try:
            content["search"][key] = yaml.safe_load(value)
        except yaml.YAMLError as problem:
            raise UsageError(f"{word} cannot be read", where=_OWN + key, fix="write key=value") from problem
    return convert(SearchSection, content).search


def resume_search(home: RunDir, flags: Flags, *, trust_code: bool) -> int:
    """Go on with a search as its directory recorded it.

    Raises:
        CheckpointError: The record is damaged.
        UsageError: It names code, and is not trusted.
    """
    from kdcli.commands.resume import read_config, untrusted
    from kdcli.commands.search_trials import batch_paths
    from kdcli.commands.searcher import Resumed, SearchTask, install

    where = str(home.path / "config.yaml")
    file = convert(SearchFile, home.config(), error=CheckpointError, where=where)
    if file.config_dir is not None and not trust_code:
        raise untrusted(where, f"--config-dir={file.config_dir}")
    for batch in batch_paths(home):
        for part in (*batch.glob("[0-9]*"), *batch.glob("baselines/[0-9]*")):
            read_config(RunDir.open(part), trust_code=trust_code)
    named = {"--config-dir": file.config_dir, "--config-name": file.config_name}
    own = [f"{flag}={value}" for flag, value in named.items() if value is not None]
    install()
    request = Request.of(file.command, [*file.fixed, *file.searched, *own, "--multirun"])
    return run_task(request, SearchTask(request, flags, file.search, Resumed(home, trust_code)))
