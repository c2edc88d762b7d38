"""What was asked of a composed command: the overrides, and where the user's own YAML lies."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from kdcli.commands import COMMANDS, Command
from kdcli.errors import UsageError

_DIRECTORIES = "kd owns the directories of its runs"
_OWNED = {
    "hydra.run.dir": _DIRECTORIES,
    "hydra.run": _DIRECTORIES,
    "hydra.sweep.dir": _DIRECTORIES,
    "hydra.sweep.subdir": _DIRECTORIES,
    "hydra.sweep": _DIRECTORIES,
    "hydra.output_subdir": _DIRECTORIES,
    "hydra.job.chdir": _DIRECTORIES,
    "hydra/sweeper": "kd's own sweeper trains together what can be trained as one program",
}
_OPEN = tuple(f"{section}.arguments{mark}" for section in ("model", "loss", "dataset") for mark in (".", "="))
"""What no file of ours can list: Hydra adds such keys only behind two pluses."""

_MODES = ("--multirun", "--cfg", "--info", "--hydra-help")


@dataclass(frozen=True)
class Request:
    """One command line for Hydra.

    Args:
        command: The command's name.
        overrides: The ``key=value`` words.
        hydra_flags: Hydra's flags in their long form, with their values.
    """

    command: str
    overrides: tuple[str, ...]
    hydra_flags: tuple[str, ...]

    @classmethod
    def of(cls, command: str, words: list[str]) -> Request:
        """Split the words of a line; what kd owns is refused.

        Raises:
            UsageError: An override of Hydra's directories or sweeper, or two words that set nothing.
        """
        settings = [word for word in words if not word.startswith("-")]
        _refuse_a_second_argument(command, settings)
        overrides = tuple(_override(command, word) for word in settings)
        for override in overrides:
            key = override.partition("=")[0].lstrip("+~")
            if not key:
                raise UsageError(f"{override!r} sets nothing", where=override, fix="settings are written key=value")
            if key in _OWNED:
                raise UsageError(
                    f"{override} is not taken: {_OWNED[key]}",
                    where=key,
                    fix="output_dir=DIR says where outputs go; sweep.fuse=false trains the jobs of a sweep one by one",
                )
        request = cls(command, overrides, tuple(word for word in words if word.startswith("-")))
        request._check_flags()
        return request

    def _check_flags(self) -> None:
        modes = [name for name in _MODES if self.flag(name) is not None]
        if len(modes) > 1:
            raise UsageError(f"{' and '.join(modes)} exclude each other", where=modes[1], fix=f"leave out {modes[1]}")
        for directory in self.config_dirs:
            if not directory.is_dir():
                fix = "name a directory with YAML of your own"
                raise UsageError(f"no directory {directory}", where="--config-dir", fix=fix)
        for name in ("--resolve", "--package"):
            if self.flag(name) is not None and self.flag("--cfg") is None:
                raise UsageError(f"{name} belongs to --cfg", where=name, fix=f"add --cfg=job, or leave out {name}")

    @property
    def spec(self) -> Command:
        """The command as the front end knows it."""
        return COMMANDS[self.command]

    def flag(self, name: str) -> str | None:
        """The value of a Hydra flag; '' where it has none, None where it was not given."""
        for flag in self.hydra_flags:
            given, _, value = flag.partition("=")
            if given == name:
                return value
        return None

    @property
    def config_dirs(self) -> list[Path]:
        """The directory of the user's own YAML, where one was named."""
        directory = self.flag("--config-dir")
        return [Path(directory)] if directory else []

    def yaml_files(self) -> list[Path]:
        """The user's YAML files: the primary one, then the options chosen on the line, then the others."""
        named = [f"{self.primary}.yaml", *(f"{group}/{option}.yaml" for group, option in self.chosen().items())]
        first = [root / name for root in self.config_dirs for name in named if (root / name).is_file()]
        others = [path for root in self.config_dirs for path in sorted(root.rglob("*.yaml")) if path not in first]
        return [*first, *others]

    @property
    def primary(self) -> str:
        """The name of the primary file: the command's own, unless --config-name names another."""
        return self.flag("--config-name") or self.spec.config_name

    def given(self, key: str) -> str | None:
        """The override of ``key`` on the line, None where there is none; the last one counts."""
        for override in reversed(self.overrides):
            if override.partition("=")[0].lstrip("+~") == key:
                return override
        return None

    def chosen(self) -> dict[str, str]:
        """What stands after the first equals sign of each override, by key."""
        return {key: value for key, _, value in (override.partition("=") for override in self.overrides)}


def _refuse_a_second_argument(command: str, settings: list[str]) -> None:
    positional = COMMANDS[command].positional
    arguments = [word for word in settings if "=" not in word]
    if positional and len(arguments) > 1:
        fix = "settings are written key=value" + (", several runs run=[RUN,RUN]" if positional == "run" else "")
        raise UsageError(f"{arguments[1]!r} is one too many beside {arguments[0]!r}", where=arguments[1], fix=fix)


def _override(command: str, word: str) -> str:
    """A word as Hydra is to read it: what is an argument, and keys that only a user's own code knows."""
    positional = COMMANDS[command].positional
    if positional and "=" not in word:
        from kdcli.report.paste import override

        return shlex.split(override(positional, word))[0]
    return f"++{word}" if word.startswith(_OPEN) else word
