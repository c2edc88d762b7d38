"""The configurations of a sweep's jobs: Hydra composes once for each distinct set of group choices, not for each job.

A composition takes Hydra about 0.1 s, a copy of one with a few values changed about a hundredth of that. Numbers as
options of ``temperature`` and ``alpha`` are values in this sense: the composition is made with a stand-in, a number
that nobody can mean, and the job's own takes its place.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from kdcli.commands.composed import group_choices, plain_data
from kdcli.commands.conf_files import NUMERIC_GROUPS
from kdcli.commands.numeric_options import is_number

_STAND_IN = -1.2345678987654321e-77


@dataclass(frozen=True)
class Composition:
    """A job's configuration as plain data, and the chosen option of each group."""

    data: dict[str, Any]
    choices: dict[str, str]


@dataclass(frozen=True)
class _Base:
    """One composition that jobs share: without Hydra's own part, and the choices in it."""

    config: DictConfig
    choices: dict[str, str]


@dataclass(frozen=True)
class _Sorted:
    """The overrides of a job: those that Hydra must compose, numbers as options, and plain values."""

    structural: tuple[str, ...]
    numbers: dict[str, str]
    plain: list[Override]


class Composer:
    """Composes the jobs of one sweep.

    Args:
        loader: Hydra's, which knows the search path.
        master: The configuration of the sweep as a whole.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._parser = OverridesParser.create(loader)
        self._parsed: dict[str, Override] = {}
        self._groups: dict[str, bool] = {}
        self._bases: dict[tuple[str, ...], _Base | None] = {}

    def compose(self, index: int, overrides: list[str]) -> Composition:
        """Compose one job, exactly as Hydra alone would.

        Args:
            index: The job's number, for ``${hydra:job.num}``.
            overrides: Its ``key=value`` texts.

        Raises:
            Exception: Hydra's own, where it cannot be composed.
            UsageError: A missing value or an interpolation that leads nowhere.
        """
        wanted = self._sort(overrides)
        base = None if any("${hydra:" in override for override in overrides) else self._base(wanted.structural)
        if base is None:
            return self._compose_alone(index, overrides)
        config = copy.deepcopy(base.config)
        for group, number in wanted.numbers.items():
            _put_number(config, group, float(number))
        ConfigLoaderImpl._apply_overrides_to_config(wanted.plain, config)
        return Composition(plain_data(config), base.choices | wanted.numbers)

    def _compose_alone(self, index: int, overrides: list[str]) -> Composition:
        config = self._loader.load_sweep_config(self._master, overrides)
        with open_dict(config), read_write(config):
            config.hydra.job.id = str(index)
            config.hydra.job.num = index
            HydraConfig.instance().set_config(config)
            choices = group_choices(dict(config.hydra.runtime.choices))
            del config["hydra"]
        return Composition(plain_data(config), choices)

    def _base(self, structural: tuple[str, ...]) -> _Base | None:
        """What jobs with these overrides share; None where they cannot share, or where Hydra refuses it."""
        if structural not in self._bases:
            self._bases[structural] = self._compose_base(structural)
        return self._bases[structural]

    def _compose_base(self, structural: tuple[str, ...]) -> _Base | None:
        try:
            config = self._loader.load_sweep_config(self._master, list(structural))
        except Exception:
            return None  # composing the job alone raises it again, with the job's own words
        choices = group_choices(dict(config.hydra.runtime.choices))
        with open_dict(config), read_write(config):
            del config["hydra"]
        follows_number = any(
            str(_STAND_IN) in option for group, option in choices.items() if group not in NUMERIC_GROUPS
        )
        if follows_number or "${hydra:" in OmegaConf.to_yaml(config):
            return None
        return _Base(config, choices)

    def _sort(self, overrides: list[str]) -> _Sorted:
        structural: list[str] = []
        numbers: dict[str, str] = {}
        plain: list[Override] = []
        for text in overrides:
            override = self._parse(text)
            value = override.value()
            if isinstance(value, dict) or not self._is_group(override.key_or_group):
                plain.append(override)
            elif _is_plain_number(override, value):
                numbers[override.key_or_group] = str(value)
                structural.append(f"{override.key_or_group}={_STAND_IN}")
            else:
                structural.append(text)
        return _Sorted(tuple(structural), numbers, plain)

    def _parse(self, text: str) -> Override:
        if text not in self._parsed:
            self._parsed[text] = self._parser.parse_overrides([text])[0]
        return self._parsed[text]

    def _is_group(self, key: str) -> bool:
        if key not in self._groups:
            self._groups[key] = bool(self._repository.get_group_options(key, results_filter=None))
        return self._groups[key]

    @cached_property
    def _repository(self) -> IConfigRepository:
        """Where Hydra looks for options; asked about a group, its loader reads the primary configuration again."""
        loader, hydra = cast(ConfigLoaderImpl, self._loader), self._master.hydra
        _, repository = loader._parse_overrides_and_create_caching_repo(
            hydra.job.config_name, list(hydra.overrides.hydra)
        )
        return repository


def _is_plain_number(override: Override, value: object) -> bool:
    changes = override.type == OverrideType.CHANGE and override.package is None
    return changes and override.key_or_group in NUMERIC_GROUPS and isinstance(value, str) and is_number(value)


def _put_number(config: DictConfig, group: str, number: float) -> None:
    """Put the job's number where the stand-in is; where a recipe has overridden it, there is none."""
    section = config.get(group)
    if not isinstance(section, DictConfig) or OmegaConf.is_interpolation(section, "value"):
        return
    if section.get("value") == _STAND_IN:
        section.value = number
