"""What Hydra refuses, in kd's words: the key or option, the nearest name, what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from kdcli.commands import COMMANDS
from kdcli.commands.conf_files import NUMERIC_GROUPS, conf_dir, keys_of, options, scan
from kdcli.commands.nearest import did_you_mean
from kdcli.commands.numeric_options import is_number
from kdcli.commands.request import Request
from kdcli.commands.yaml_places import broken_yaml
from kdcli.errors import UsageError
from kdcli.report import paste


def explain(error: Exception, request: Request) -> UsageError:
    """The refusal for an error that was raised while a configuration was composed.

    Args:
        error: What Hydra, OmegaConf or the YAML reader raised.
        request: What was asked for.
    """
    for explanation in _EXPLANATIONS:
        found = explanation(error, request)
        if found:
            return found
    return UsageError(_first_lines(error), where=f"kd {request.command}", fix=f"see kd {request.command} --help")


def _first_lines(error: Exception) -> str:
    """Hydra's message without its advice, its search path and OmegaConf's notes."""
    text = re.split(r"\n(?:To append|Config search path|\s)", str(error))[0]
    return re.sub(r"\w+ raised while composing config:\n", "", text).strip() or type(error).__name__


def unresolved(error: Exception) -> UsageError:
    """The refusal for an interpolation that leads nowhere or round in a circle."""
    key = getattr(error, "full_key", None) or "configuration"
    reason = re.sub(r"^\w+ (?:raised )?while resolving interpolation: ", "", str(error).splitlines()[0]).strip('"')
    return UsageError(
        f"{key} cannot be resolved: {reason[:1].lower()}{reason[1:]}",
        where=key,
        fix="${...} must name a key that exists and does not lead back to itself",
    )


def _broken_yaml(error: Exception, request: Request) -> UsageError | None:
    reading = (yaml.YAMLError, UnicodeDecodeError, RecursionError)
    by_text = ("must be a DictConfig", "Invalid loaded object", "Invalid defaults list", "Unsupported item value")
    if isinstance(error, reading) or any(text in str(error) for text in by_text):
        return broken_yaml(error, request.yaml_files())
    return None


def _malformed(error: Exception, request: Request) -> UsageError | None:
    if not isinstance(error, OverrideParseException):
        return None
    word = error.override
    if "=" in word:
        key, _, value = word.partition("=")
        fix = f"""put the value in quotes, within the shell's: '{key}="{value}"'"""
        return UsageError(
            f"cannot read {word!r}: the value has unpaired brackets or special characters", where=key, fix=fix
        )
    fix = f"settings are written key=value, for example {_setting(word, request)}"
    return UsageError(f"{word!r} sets nothing", where=word, fix=fix)


def _setting(word: str, request: Request) -> str:
    """What was probably meant by a word alone: a key, an option of the first group that has it, or a RUN."""
    groups = _groups(request)
    keys = [*groups, *keys_of(request.spec.config_name, request.chosen())]
    if word in keys:
        return f"{word}=VALUE"
    having = [group for group in groups if word in options(group, *request.config_dirs)]
    if having:
        return f"{having[0]}={word}"
    return paste.override("teacher", word) if "teacher" in keys and request.given("teacher") is None else "epochs=5"


def _unknown_option(error: Exception, request: Request) -> UsageError | None:
    """An option that no file of the group has, or a value that cannot be an option at all."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        if error.options is None:
            return _no_file(str(error.missing_cfg_file), request)
        own = [] if group.startswith("hydra/") else options(group, *request.config_dirs)
        return no_option(group, option, own or sorted(error.options))
    if isinstance(error, (ValueError, TypeError)):
        for group, value in request.chosen().items():
            names = options(group, *request.config_dirs) if group else []
            if names and value not in names and not (group in NUMERIC_GROUPS and is_number(value)):
                return no_option(group, value, names)
    return None


def _no_file(name: str, request: Request) -> UsageError:
    if name == request.primary:
        found = sorted(path.stem for root in request.config_dirs for path in root.glob("*.yaml"))
        hint = f"files there: {', '.join(found)}" if found else "add --config-dir DIR, where the file is"
        return UsageError(f"no file {name}.yaml{did_you_mean(name, found)}", where="--config-name", fix=hint)
    return UsageError(f"no file {name}.yaml, which a defaults list names", where=name, fix="correct the defaults list")


def no_option(group: str, option: str, names: list[str]) -> UsageError:
    """The refusal of an option that a config group does not have."""
    listed = ", ".join([*names, "or any number"] if group in NUMERIC_GROUPS else names)
    hint = did_you_mean(option, names, form=group + "={}")
    return UsageError(f"no option {option!r} in {group}{hint}", where=group, fix=f"there are: {listed}")


def _unknown_key(error: Exception, request: Request) -> UsageError | None:
    refused = re.match(r"(?:In '.*?': )?Could not override '([^']*)'\.", str(error))
    cause = error.__cause__
    if not refused or not isinstance(error, ConfigCompositionException):
        return None
    key = refused[1]
    if cause is not None and not isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        return None
    known = keys_of(request.spec.config_name, request.chosen())
    if key in known:
        fix = f"begin {request.primary}.yaml with\ndefaults:\n  - {request.spec.config_name}\n  - _self_"
        return UsageError(f"{request.primary}.yaml does not know {key!r}", where=key, fix=fix)
    elsewhere = _elsewhere(key)
    if elsewhere:
        return UsageError(f"unknown key {key!r}, as things are chosen", where=key, fix=elsewhere)
    others = [name for name in COMMANDS if name != request.command and key in _keys_of_command(name)]
    if others:
        what = f"kd {request.command} does not take {key!r}; kd {' and kd '.join(others)} do{'es' * (len(others) == 1)}"
        return UsageError(what, where=key, fix=f"leave it out, or see kd {request.command} --help")
    hint = did_you_mean(key, [*_groups(request), *known]) or _siblings(key, known)
    fix = f"see kd {request.command} --help, or --cfg job for every key"
    return UsageError(f"unknown key {key!r}{hint}", where=key, fix=fix)


def _keys_of_command(name: str) -> list[str]:
    command = COMMANDS[name]
    return keys_of(command.config_name, {}) if command.composed else []


def _siblings(key: str, known: list[str]) -> str:
    parent = key.rpartition(".")[0]
    beside = [name for name in known if parent and name.startswith(f"{parent}.")]
    return f"; keys of {parent}: {', '.join(beside)}" if beside else ""


def _elsewhere(key: str) -> str:
    """Which options of the group have the key that the chosen one lacks."""
    group, _, rest = key.partition(".")
    having = [
        option
        for option in options(group)
        if any(found.path == rest for found in scan(conf_dir() / group / f"{option}.yaml").keys)
    ]
    return f"{key} belongs to {', '.join(f'{group}={option}' for option in having)}" if rest and having else ""


def _missing_group(error: Exception, request: Request) -> UsageError | None:
    found = re.match(r"You must specify '(\w+)'", str(error))
    if not found:
        return None
    names = ", ".join(options(found[1], *request.config_dirs))
    return UsageError(f"{found[1]} must be given", where=found[1], fix=f"add {found[1]}=OPTION; there are: {names}")


def _needless_plus(error: Exception, request: Request) -> UsageError | None:
    text = str(error)
    if not text.startswith(("Multiple values for", "force-add of config groups", "Could not append to config")):
        return None
    for override in request.overrides:
        plain = override.lstrip("+")
        if plain != override and (plain.partition("=")[0] in text):
            key = plain.partition("=")[0]
            return UsageError(f"{override} adds what is there already", where=key, fix=f"leave out the plus: {plain}")
    return None


def _sweep_without_flag(error: Exception, request: Request) -> UsageError | None:
    found = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '([^=]*)=(.*?)'(?: requires|\n)", str(error))
    if not found:
        return None
    key, values = found.groups()
    together = f"write '{key}=[{values}]' if the key takes a list"
    fix = together if request.command == "evaluate" else f"add -m for one job with each, or {together}"
    return UsageError(f"{key}={values} lists several values", where=key, fix=fix)


def _interval(error: Exception, request: Request) -> UsageError | None:
    if "INTERVAL_SWEEP" not in str(error):
        return None
    fix = "list values, write range(start,stop,step), or use kd search"
    return UsageError("an interval has no list of values", where="-m", fix=fix)


def _unresolved(error: Exception, request: Request) -> UsageError | None:
    cause = error.__cause__ or error
    return unresolved(cause) if isinstance(cause, OmegaConfBaseException) and "nterpolation" in str(cause) else None


def _groups(request: Request) -> list[str]:
    return list(scan(conf_dir() / f"{request.spec.config_name}.yaml").choices)


_EXPLANATIONS: tuple[Callable[[Exception, Request], UsageError | None], ...] = (
    _broken_yaml,
    _malformed,
    _unknown_option,
    _missing_group,
    _unknown_key,
    _needless_plus,
    _sweep_without_flag,
    _interval,
    _unresolved,
)
