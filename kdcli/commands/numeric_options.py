"""Bare numbers as options of the groups ``temperature`` and ``alpha``: ``temperature=3.3`` is a constant of 3.3.

Hydra parses ``3.3`` into a float and then refuses it, because an option must be a text. So one method of Hydra's is
wrapped: the value of an override of these two groups is given as text. A source of configuration, ``numeric://``, then
makes the option of that name. This covers what rewriting the command line would not: lists that mix numbers and
schedules, ranges, numbers in a YAML's sweeper parameters, and the true choice in the record.
"""

from __future__ import annotations

import builtins
import functools
import re
from collections.abc import Callable
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from kdcli.commands.conf_files import NUMERIC_GROUPS

_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|nan)", re.IGNORECASE)


def is_number(option: str) -> bool:
    """Say whether an option's name is a number; whether it is in range is for the schema to say."""
    return _NUMBER.fullmatch(option) is not None


class NumericSource(ConfigSource):
    """Makes the option of a numeric group that is named by its value."""

    @staticmethod
    def scheme() -> str:
        """The prefix of this source in Hydra's search path."""
        return "numeric"

    def load_config(self, config_path: str) -> ConfigResult:
        """A constant schedule of the number in ``config_path``, such as ``temperature/3.3``."""
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        config = OmegaConf.create(constant(config_path.partition("/")[2]))
        return ConfigResult(provider=self.provider, path="numeric://", config=config, header={"package": None})

    def is_group(self, config_path: str) -> bool:
        """Say whether the path is one of the numeric groups."""
        return config_path in NUMERIC_GROUPS

    def is_config(self, config_path: str) -> bool:
        """Say whether the path is a numeric group followed by a number."""
        group, _, option = config_path.partition("/")
        return self.is_group(group) and is_number(option)

    def available(self) -> bool:
        """It always is."""
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        """No option by name: they cannot be enumerated."""
        return []


def constant(option: str) -> dict[str, str | float]:
    """The content of a numeric option, as in ``conf/temperature/constant.yaml``."""
    return {"kind": "constant", "value": float(option)}


class NumericSearchPath(SearchPathPlugin):
    """Puts ``numeric://`` behind kd's own directory in every search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the source."""
        search_path.append("numeric", "numeric://")


def install() -> None:
    """Let Hydra take numbers as options of these groups, in this process; a second call changes nothing."""
    plugins = Plugins.instance()
    plugins.register(NumericSource)
    plugins.register(NumericSearchPath)
    if not hasattr(Override.value, "__wrapped__"):
        Override.value = _numbers_as_text(Override.value)  # type: ignore[assignment, method-assign]


def _numbers_as_text(value_of: Callable[[Override], Any]) -> Callable[[Override], Any]:
    """Wrap ``Override.value``: of a numeric group, a number becomes the text that names the option."""

    @functools.wraps(value_of)
    def value(self: Override) -> Any:
        found = value_of(self)
        return str(found) if self.key_or_group in NUMERIC_GROUPS and type(found) in (int, float) else found

    return value
