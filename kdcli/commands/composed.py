"""From what Hydra composed to the typed configuration."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdcli.commands.override_errors import unresolved
from kdcli.commands.request import Request
from kdcli.commands.yaml_places import place_of, place_of_option
from kdcli.errors import UsageError
from kdcli.schema import Config, parse_config

_EXAMPLES: dict[str, str | float] = {
    "teacher": "latest",
    "run": "latest",
    "file": "FILE.pt",
    "mean": 0.1307,
    "std": 0.3081,
    "loss.target": "my_package.losses:my_loss",
    "model.name": "resnet18",
    "model.target": "my_package.nets:tiny_net",
    "dataset.root": "DIRECTORY",
    "dataset.path": "FILE.csv",
    "dataset.target": "COLUMN",
}


def plain_data(config: DictConfig) -> dict[str, Any]:
    """The configuration as mappings, lists and scalars, with its interpolations resolved.

    Raises:
        UsageError: A key that must be given is not, or an interpolation leads nowhere.
    """
    missing = missing_keys(config)
    if missing:
        own_data = OmegaConf.select(config, "dataset.kind") == "custom"
        known = _EXAMPLES | ({"dataset.target": "my_package.data:letters"} if own_data else {})
        examples = " ".join(f"{key}={known.get(key, 'VALUE')}" for key in missing)
        needed = "must be given" if len(missing) == 1 else "must all be given"
        raise UsageError(f"{', '.join(missing)} {needed}", where=missing[0], fix=f"add {examples}")
    return _resolved(config)


def missing_keys(config: DictConfig) -> list[str]:
    """The keys whose value is still ``???``.

    Raises:
        UsageError: An interpolation that leads nowhere.
    """
    try:
        return sorted(OmegaConf.missing_keys(config))
    except (OmegaConfBaseException, RecursionError) as error:
        raise unresolved(error) from error


def _resolved(config: DictConfig) -> dict[str, Any]:
    data = OmegaConf.to_container(config, resolve=True)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


def typed(data: dict[str, Any], request: Request) -> Config:
    """Check plain data; where the user's own YAML is wrong, the error says in which line.

    Raises:
        UsageError: What the schema refuses.
    """
    try:
        return parse_config(request.command, data)
    except UsageError as error:
        places = _places((error.where or "").split(", "), request)
        if not places:
            raise
        raise UsageError(error.what, where=f"{error.where} ({', '.join(places)})", fix=error.fix) from error


def _places(keys: Iterable[str], request: Request) -> list[str]:
    files = request.yaml_files()
    found = [
        place_of(key, files) if request.given(key) is None else place_of_option(key.partition(".")[0], files)
        for key in keys
    ]
    return [place for place in found if place]


def check_shown(config: DictConfig, request: Request) -> None:
    """Check a configuration that is only to be printed: what must be given may still be missing.

    Raises:
        UsageError: A wrong key or value.
    """
    missing = missing_keys(config)
    if not set(missing) <= set(_EXAMPLES):
        return
    filled = copy.deepcopy(config)
    for key in missing:
        OmegaConf.update(filled, key, _EXAMPLES[key])
    typed(_resolved(filled), request)


def group_choices(choices: dict[str, Any]) -> dict[str, str]:
    """The chosen option of each of kd's own groups, of all that Hydra recorded."""
    return {group: str(option) for group, option in choices.items() if not group.startswith("hydra")}
