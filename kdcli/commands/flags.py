"""The command line, split into the command, its arguments and the flags. Standard library only.

Settings are ``key=value``; flags are for behaviour, and may stand anywhere on the line.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal, cast

from kdcli.errors import UsageError

Progress = Literal["auto", "rich", "plain", "none"]


@dataclass(frozen=True)
class Flags:
    """How a command behaves, whatever it computes.

    Args:
        json: The result goes to stdout as JSON, alone there.
        dry_run: Check everything and print the plan, but write nothing.
        smoke: Two batches of every phase.
        quiet: Nothing on the way, only the last lines.
        progress: ``auto``, ``rich``, ``plain`` or ``none``.
        debug: Show the traceback of an error.
        color: Colour is allowed (on a terminal).
        budget: How much a study spends; None where it was not said.
        schema: Print the JSON schema of a study's ``study`` file or of its ``results``, and do nothing else.
    """

    json: bool = False
    dry_run: bool = False
    smoke: bool = False
    quiet: bool = False
    progress: Progress = "auto"
    debug: bool = False
    color: bool = True
    budget: Literal["smoke", "short", "full"] | None = None
    schema: Literal["study", "results"] | None = None


@dataclass
class Line:
    """A command line, taken apart.

    Args:
        words: Everything that is no flag: the command first.
        hydra: Hydra's own flags in their long form, each with its value in the same word.
        special: Flags that only some commands take, in the same form.
        flags: How the command behaves.
        help: ``--help`` was asked for.
        version: ``--version`` was asked for.
    """

    words: list[str] = field(default_factory=list)
    hydra: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    flags: Flags = field(default_factory=Flags)
    help: bool = False
    version: bool = False


OWN = {
    "--help": "show this help",
    "--version": "show the version",
    "--json": "the result as JSON on stdout, alone there",
    "--dry-run": "check everything, print the plan, write nothing",
    "--smoke": "two batches of every phase, files and figures included",
    "--quiet": "nothing on the way, only the last lines",
    "--progress": "auto, rich, plain (one line an epoch) or none",
    "--no-color": "no colour (NO_COLOR and TERM=dumb are honoured too)",
    "--debug": "show the traceback of an error",
    "--budget": "of a study: smoke, short or full",
    "--schema": "of studies: print the JSON schema of a study's file (study) or of its results",
}
HYDRA = {
    "--multirun": "a sweep: one job for each combination of the values",
    "--cfg": "print the composed configuration and stop: job, hydra or all",
    "--resolve": "with --cfg: resolve interpolations",
    "--package": "with --cfg: only this part",
    "--config-dir": "a directory with YAML of your own",
    "--config-name": "a primary file of your own",
    "--info": "how the configuration is found: all, config, defaults, defaults-tree, plugins, searchpath",
    "--hydra-help": "Hydra's own help",
}
SPECIAL = {
    "--all": "also smoke runs, evaluations, and the jobs of sweeps",
    "--limit": "how many at most; 0: all",
    "--last": "the newest N finished trainings",
    "--pivot": "a grid of means: ROWS:COLUMNS, such as temperature:alpha",
    "--format": "table, md, csv, json or latex",
    "--purge": "delete for good, without the trash",
    "--force": "also a teacher that other runs name",
    "--redact": "say nothing of your directories: for a bug report",
}
SHORT = {
    "-n": "--limit",
    "-h": "--help",
    "-q": "--quiet",
    "-m": "--multirun",
    "-c": "--cfg",
    "-p": "--package",
    "-i": "--info",
    "-cd": "--config-dir",
    "-cn": "--config-name",
    "-cp": "--config-path",
    "-r": "--run",
    "-sc": "--shell-completion",
}
CHOICES = {
    "--progress": ("auto", "rich", "plain", "none"),
    "--budget": ("smoke", "short", "full"),
    "--schema": ("study", "results"),
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
WITH_VALUE = {"--progress", "--budget", "--schema", "--cfg", "--package", "--config-dir", "--config-name"}
_REFUSED = {
    "--experimental-rerun": ("it loads a pickle, which can run any code", "use kd resume RUN"),
    "--config-path": ("kd's own configuration is always needed", "add yours with --config-dir DIR"),
    "--run": ("a single run is what happens without -m", "leave it out"),
    "--shell-completion": ("kd has its own", "use kd completion bash"),
}
_PLANNING = {
    "train-teacher", "distill-student", "train-specialists",
    "evaluate", "export", "import", "study", "search", "report", "resume",
}  # fmt: skip
CHOICES["--format"] = ("table", "md", "csv", "json", "latex")
WITH_VALUE |= {"--limit", "--last", "--pivot", "--format"}


def parse_line(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Line:
    """Take a command line apart.

    Raises:
        UsageError: A flag that is unknown, refused, or given a wrong value.
    """
    line = Line(flags=Flags(color=_color_allowed(environ)))
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith("-") and word != "-":
            _take_flag(line, word, rest)
        else:
            line.words.append(word)
    _check_study(line)
    _check_plan(line)
    return line


def _check_study(line: Line) -> None:
    """Refuse what only a study takes with another command."""
    given = {"--budget": line.flags.budget, "--schema": line.flags.schema}
    for name, value in given.items():
        if value is not None and line.words[:1] != ["study"]:
            raise UsageError(f"{name} is for studies", where=name, fix="kd study NAME takes it")


def _check_plan(line: Line) -> None:
    """Refuse JSON of a plan, which is written for people."""
    if line.flags.json and line.flags.dry_run and line.words[:1] and line.words[0] in _PLANNING:
        raise UsageError(
            f"the plan of kd {line.words[0]} --dry-run is no JSON",
            where="--json",
            fix="leave out --json; the exit code says whether the plan is sound",
        )


def _color_allowed(environ: Mapping[str, str]) -> bool:
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _take_flag(line: Line, word: str, rest: list[str]) -> None:
    name, equals, value = word.partition("=")
    name = SHORT.get(name, name)
    if name in _REFUSED:
        reason, instead = _REFUSED[name]
        raise UsageError(f"{name} is not taken: {reason}", where=word, fix=instead)
    if name not in OWN and name not in HYDRA and name not in SPECIAL:
        raise _unknown(line, name, value or "".join(rest[:1]))
    if name in WITH_VALUE and not equals:
        value = _next_value(name, rest)
    elif name == "--info" and not equals:
        value = rest.pop(0) if rest and rest[0] in CHOICES["--info"] else "all"
    elif name not in WITH_VALUE and name != "--info" and equals:
        raise UsageError(f"{name} takes no value, got {value!r}", where=word, fix=f"write {name} alone")
    _check_choice(name, value)
    if name in HYDRA or name in SPECIAL:
        (line.hydra if name in HYDRA else line.special).append(f"{name}={value}" if value else name)
    else:
        _set(line, name, value)


def _unknown(line: Line, name: str, value: str) -> UsageError:
    from kdcli.commands.nearest import did_you_mean

    key = name.lstrip("-").replace("-", "_")
    shown = value if value and not value.startswith("-") and "=" not in value else "VALUE"
    meant = f"; did you mean '{key}={shown}'?" if key in _keys(line.words) else ""
    return UsageError(
        f"unknown flag {name!r}{meant or did_you_mean(name, [*OWN, *HYDRA, *SPECIAL])}",
        where=name,
        fix="settings are written key=value, without dashes; 'kd --help' lists the flags",
    )


def _keys(words: list[str]) -> Collection[str]:
    """The keys of the command that the line begins with; of some that Hydra does not compose, none are known here."""
    from kdcli.commands import COMMANDS
    from kdcli.commands.conf_files import conf_dir, keys_of, scan

    command = COMMANDS.get(words[0]) if words else None
    if command is None:
        return ()
    if command.composed:
        return [*scan(conf_dir() / f"{command.config_name}.yaml").choices, *keys_of(command.config_name, {})]
    keys: Collection[str] = getattr(import_module(f"kdcli.commands.{command.module}"), "KEYS", ())
    return keys


def _next_value(name: str, rest: list[str]) -> str:
    if not rest:
        wanted = "|".join(CHOICES.get(name, ("VALUE",)))
        raise UsageError(f"{name} needs a value", where=name, fix=f"write {name}={wanted}")
    return rest.pop(0)


def _check_choice(name: str, value: str) -> None:
    choices = CHOICES.get(name)
    if choices and value not in choices:
        from kdcli.commands.nearest import did_you_mean

        hint = did_you_mean(value, choices)
        raise UsageError(f"{name}={value} is not known{hint}", where=name, fix=f"one of: {', '.join(choices)}")


def _set(line: Line, name: str, value: str) -> None:
    match name:
        case "--help":
            line.help = True
        case "--version":
            line.version = True
        case "--progress":
            line.flags = replace(line.flags, progress=cast(Progress, value))
        case "--budget":
            line.flags = replace(line.flags, budget=cast(Any, value))
        case "--schema":
            line.flags = replace(line.flags, schema=cast(Any, value))
        case "--no-color":
            line.flags = replace(line.flags, color=False)
        case "--json":
            line.flags = replace(line.flags, json=True)
        case "--dry-run":
            line.flags = replace(line.flags, dry_run=True)
        case "--smoke":
            line.flags = replace(line.flags, smoke=True)
        case "--quiet":
            line.flags = replace(line.flags, quiet=True)
        case "--debug":
            line.flags = replace(line.flags, debug=True)
