"""The words behind a command that Hydra does not compose: names, ``key=value``, and flags of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from kdcli.errors import UsageError


@dataclass(frozen=True)
class Words:
    """What follows a command.

    Args:
        names: What has no ``=``.
        settings: The value of each key; the last one counts.
        flags: The value of each flag of the command's own, '' where it has none.
    """

    names: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)


def take_apart(args: Sequence[str], command: str, keys: Collection[str]) -> Words:
    """Sort the words behind a command.

    A word whose ``=`` stands behind a slash is a name: paths may hold one.

    Args:
        args: The words.
        command: Its name, for the error.
        keys: Those that it takes.

    Raises:
        UsageError: A key that it does not take.
    """
    words = Words()
    for arg in args:
        name, equals, value = arg.partition("=")
        if arg.startswith("--"):
            words.flags[name] = value
        elif not equals or "/" in name:
            words.names.append(arg)
        elif name in keys:
            words.settings[name] = value
        else:
            raise _unknown(arg, name, command, keys)
    return words


def _unknown(arg: str, name: str, command: str, keys: Collection[str]) -> UsageError:
    from kdcli.commands.nearest import did_you_mean

    what = f"kd {command} does not take {arg!r}{did_you_mean(name, keys)}"
    return UsageError(what, where=name, fix=f"it takes: {', '.join(f'{key}=' for key in keys)}")


def whole_number(text: str, name: str) -> int:
    """A number that counts.

    Raises:
        UsageError: It is none, or negative.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{name}={text} is no whole number", where=name, fix=f"write {name}=20")
    return int(text)


def one_of(text: str, known: Collection[str], name: str) -> str:
    """One of the known values.

    Raises:
        UsageError: It is another.
    """
    if text not in known:
        from kdcli.commands.nearest import did_you_mean

        what = f"{name}={text} is not known{did_you_mean(text, known)}"
        raise UsageError(what, where=name, fix=f"one of: {', '.join(known)}")
    return text
