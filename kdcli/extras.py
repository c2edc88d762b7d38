"""Packages that kd needs for some of what it does only, and names as extras."""

from __future__ import annotations

from importlib.util import find_spec

from kdcli.errors import MachineError


def need(what: str, extra: str, *packages: str, where: str = "") -> None:
    """See that the packages of an extra are there.

    Args:
        what: What needs them.
        extra: The extra that installs them.
        packages: Their names, as they are imported.
        where: The key or command that asked for it; where there is none, the first package that is missing.

    Raises:
        MachineError: One of them is not installed; it says how to install them.
    """
    missing = [package for package in packages if not is_there(package)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise MachineError(
            f"{what} needs {', '.join(missing)}, which {verb} not installed",
            where=where or missing[0],
            fix=f"pip install 'kdcli[{extra}]'",
        )


def is_there(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # of the package that it is in; a module that was taken out
        return False
