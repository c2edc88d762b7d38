"""``kd doctor``: can this machine run kd, and what to do where it cannot?"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING

import kdcli
from kdcli.commands.flags import Flags
from kdcli.commands.screen import as_kd_error, escape_controls
from kdcli.disk import cache_dir, free_bytes, read_bounded, remove_tree, temporary_name, write_atomic
from kdcli.errors import KDError, MachineError, UsageError
from kdcli.git import git_state

if TYPE_CHECKING:
    from packaging.requirements import Requirement

LEAST_FREE = 2**30
REDACT = "--redact"
_FIX_PACKAGE = "pip install -U '{}'"
_FOR_KD_ITSELF = "test"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; ``fix`` is None where it is as it should be."""

    name: str
    found: str
    fix: str | None = None


def run(args: list[str], flags: Flags) -> int:
    """Check the installation, the device and the disk.

    Raises:
        UsageError: Another argument than output_dir=DIR and --redact.
        MachineError: Something is not as it should be.
    """
    settings = [arg for arg in args if arg != REDACT]
    wrong = [arg for arg in settings if not arg.startswith("output_dir=")]
    if wrong:
        raise UsageError(f"doctor does not take {wrong[0]!r}", where=wrong[0], fix="kd doctor [output_dir=DIR]")
    folder = _existing(Path(settings[-1].partition("=")[2] if settings else "outputs"))
    checks, extras = list(examine(folder)), list(_extras())
    if REDACT in args:
        checks = [_redacted(check, folder) for check in checks]
    bad = [check for check in checks if check.fix is not None]
    if flags.json:
        sys.stdout.write(_as_json(checks, extras))
        return MachineError.exit_code if bad else 0
    sys.stdout.write("".join([*(_line(check, "FAILED") for check in checks), *(_line(extra, "-") for extra in extras)]))
    if bad:
        raise MachineError(f"{len(bad)} of {len(checks)} checks failed", fix="; ".join(str(check.fix) for check in bad))
    return 0


def _as_json(checks: list[Check], extras: list[Check]) -> str:
    content = {
        "schema": 1,
        "healthy": all(check.fix is None for check in checks),
        "checks": [asdict(check) for check in checks],
        "extras": [asdict(extra) for extra in extras],
    }
    return json.dumps(content, indent=2) + "\n"


def _line(check: Check, otherwise: str) -> str:
    mark = "ok" if check.fix is None else otherwise
    return escape_controls(f"{mark:<8}{check.name:<14}{check.found}").replace("\n", " ") + "\n"


def _existing(output_dir: Path) -> Path:
    """The directory, or the nearest above it that is there."""
    return next(path for path in (output_dir.absolute(), *output_dir.absolute().parents) if path.is_dir())


def _redacted(check: Check, folder: Path) -> Check:
    """The same without what it says of the user's directories: for a bug report."""
    hidden = {str(folder): "OUTPUT_DIR", str(cache_dir()): "CACHE_DIR", str(Path.home()): "HOME"}

    def without(text: str) -> str:
        for path in sorted(hidden, key=len, reverse=True):
            text = text.replace(path, hidden[path]) if path != "/" else text
        return text

    return replace(check, found=without(check.found), fix=None if check.fix is None else without(check.fix))


def examine(folder: Path) -> Iterator[Check]:
    """All checks, one after another; one that breaks is one that failed.

    Args:
        folder: Where runs would be written.
    """
    yield _kd()
    yield Check("system", platform.platform())
    yield _python()
    yield from _packages()
    yield Check("cache", f"downloads are kept in {cache_dir()}")
    later: list[tuple[str, Callable[[], Check]]] = [
        ("import", _torchvision),
        ("device", _device),
        ("determinism", _determinism),
        ("disk", lambda: _disk(folder)),
        ("write", lambda: _write(folder)),
    ]
    for name, look in later:
        try:
            yield look()
        except Exception as error:
            shown: KDError = as_kd_error(error)
            yield Check(name, shown.what, shown.fix or "see the message")


def _kd() -> Check:
    """kd's version, and of a checkout what is checked out; a package may lie in another's repository."""
    top = Path(kdcli.__file__).parents[1]
    git = git_state(top) if (top / ".git").exists() else None
    if git is None:
        return Check("kd", f"{kdcli.__version__}, no checkout of git")
    revision = f"{git['revision']}"[:12]
    return Check("kd", f"{kdcli.__version__}, git revision {revision}{' with changes' * bool(git['dirty'])}")


def _python() -> Check:
    wanted = metadata.metadata("kdcli")["Requires-Python"]
    from packaging.specifiers import SpecifierSet

    fits = SpecifierSet(wanted).contains(platform.python_version(), prereleases=True)
    return Check("python", f"{platform.python_version()} (wanted: {wanted})", None if fits else f"use Python {wanted}")


def _packages() -> Iterator[Check]:
    for wanted in _required():
        version = _version(wanted)
        said = f"{version or 'not installed'} (wanted: {wanted.specifier})"
        fix = _FIX_PACKAGE.format(f"{wanted.name}{wanted.specifier}")
        yield Check(wanted.name, said, None if _fits(wanted, version) else fix)


def _extras() -> Iterator[Check]:
    """What there is of each extra; where something is missing nothing is wrong, and ``fix`` says how to get it."""
    for extra in metadata.metadata("kdcli").get_all("Provides-Extra") or []:
        if extra != _FOR_KD_ITSELF:
            found = [(wanted, _version(wanted)) for wanted in _required(extra)]
            fix = None if all(starmap(_fits, found)) else _FIX_PACKAGE.format(f"kdcli[{extra}]")
            yield Check(extra, _said(found), fix)


def _said(found: list[tuple[Requirement, str | None]]) -> str:
    missing = [wanted.name for wanted, version in found if version is None]
    there = [
        f"{wanted.name} {version}{'' if _fits(wanted, version) else f' (wanted: {wanted.specifier})'}"
        for wanted, version in found
        if version is not None
    ]
    return "; ".join([", ".join(there)] * bool(there) + [f"not installed: {', '.join(missing)}"] * bool(missing))


def _required(extra: str = "") -> list[Requirement]:
    """What kd itself declares that it needs, or that an extra adds."""
    from packaging.requirements import Requirement

    declared = [Requirement(text) for text in metadata.requires("kdcli") or []]
    return [wanted for wanted in declared if _is_of(wanted, extra) and not (extra and _is_of(wanted, ""))]


def _is_of(wanted: Requirement, extra: str) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def _version(wanted: Requirement) -> str | None:
    try:
        return metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return None


def _fits(wanted: Requirement, version: str | None) -> bool:
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def _torchvision() -> Check:
    from kdcli.models.torchvision_shim import import_torchvision

    import_torchvision()
    return Check("import", "torchvision can be imported beside this torch")


def _device() -> Check:
    import torch

    from kdcli.build import pick_device

    device = pick_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Check("device", f"{device} ({name}), {torch.get_num_threads()} threads of {os.cpu_count()} processors")


def _determinism() -> Check:
    from kdcli.build import pick_device
    from kdcli.engine.selftest import STEPS, differing_numbers

    differing, total = differing_numbers(pick_device("auto"))
    found = f"two trainings of {STEPS} steps: {differing} of {total:,} weights differ"
    return Check("determinism", found, "run with device=cpu where runs must repeat to the bit" if differing else None)


def _disk(folder: Path) -> Check:
    free = free_bytes(folder)
    fix = f"free some space on the disk of {folder}, or choose another with output_dir=" if free < LEAST_FREE else None
    return Check("disk", f"{free / 2**30:,.1f} GiB free at {folder}", fix)


def _write(folder: Path) -> Check:
    """Write, sync, rename and read back, as a checkpoint is."""
    place, data = folder / temporary_name(), os.urandom(2**16)
    try:
        place.mkdir()
        write_atomic(place / "test", data)
        same = read_bounded(place / "test", len(data), error=MachineError) == data
    finally:
        remove_tree(place)
    fix = None if same else f"the disk of {folder} gives back other bytes than were written: use another"
    return Check("write", f"written, synced, renamed and read back in {folder}", fix)
