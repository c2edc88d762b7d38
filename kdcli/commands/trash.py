"""``kd runs rm`` and ``restore``: runs go into a trash folder inside their output directory, and come back."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kdcli.commands.flags import Flags
from kdcli.commands.run_entries import find_entries
from kdcli.commands.screen import escape_controls
from kdcli.disk import fsync_directory, make_directory, read_bounded, remove_tree, temporary_name, translated
from kdcli.errors import CheckpointError, MachineError, UsageError
from kdcli.rundir import RunDir, RunLock, resolve_run
from kdcli.rundir.listing import STUDIES
from kdcli.rundir.run import CONFIG, RECORD
from kdcli.yaml_io import MAX_BYTES

TRASH = ".trash"
_SKIPPED = ("checkpoints", "cohort", "cohorts", "figures", "targets", TRASH)


def remove(names: Sequence[str], root: Path, flags: Flags, *, purge: bool, force: bool) -> int:
    """Take runs away, all of them or none.

    Args:
        names: RUNs, each a whole one: no job, member or baseline.
        root: The output directory.
        flags: With ``json`` there is one document, with ``dry_run`` nothing is changed.
        purge: Delete them for good.
        force: Also a teacher that other runs name.

    Raises:
        UsageError: There is no such run, it is part of another, it is at work, or others name it.
        MachineError: It cannot be moved.
    """
    paths = list(dict.fromkeys(_place(name, root, smoke=True) for name in names))
    for path in paths:
        _check_whole(path, root)
        if not force:
            _check_unused(path, root, leaving=paths)
    done = []
    for path in paths:
        target = None if purge else root / TRASH / path.relative_to(root)
        if not flags.dry_run:
            _take_away(path, target)
        done.append({"run": str(path), "trash": None if target is None else str(target)})
    _say(done, root, flags)
    return 0


def _place(name: str, root: Path, *, smoke: bool) -> Path:
    """The directory of a run, whose record may be damaged."""
    path = Path(name)
    if name != "latest" and path.is_dir() and path.resolve().is_relative_to(root.resolve()):
        return root / path.resolve().relative_to(root.resolve())
    broken = [entry.path for entry in find_entries(root, jobs=False) if not entry.record and entry.name == name]
    if broken:
        return broken[0]
    return resolve_run(name, root=root, purpose="run", smoke=smoke).path


def _check_whole(path: Path, root: Path) -> None:
    if not (path.is_relative_to(root) and _is_whole(path, root)):
        fix = "name the whole of what it is part of, or a run of this output directory (output_dir=)"
        raise UsageError(f"{path} is no run of its own", where=str(path), fix=fix)


def _is_whole(path: Path, root: Path) -> bool:
    """Whether a directory is where `kdcli.rundir.listing` finds runs; a study's name has one part or two."""
    kind, *names = path.relative_to(root).parts or ("",)
    if kind != STUDIES:
        return len(names) == 1 and not kind.startswith(".")
    return len(names) in (2, 3) and (path / RECORD).exists() and not (path.parent / RECORD).exists()


def _check_unused(path: Path, root: Path, leaving: Sequence[Path]) -> None:
    users = [user for user in _students(root, path.name) if not any(user.is_relative_to(gone) for gone in leaving)]
    if users:
        shown = ", ".join(str(user) for user in users[:3]) + (", ..." if len(users) > 3 else "")
        what = f"{len(users)} {'run names' if len(users) == 1 else 'runs name'} {path.name} as teacher: {shown}"
        fix = "take those away as well, or add --force: what is known of them stays, but they cannot go on"
        raise UsageError(what, where=str(path), fix=fix)


def _students(root: Path, name: str) -> list[Path]:
    """The runs whose configuration names a run: its four random digits make the name unlike any other text."""
    found = []
    for folder, directories, files in os.walk(root):
        directories[:] = sorted(each for each in directories if each not in _SKIPPED and not each.startswith("."))
        if CONFIG in files and Path(folder).name != name and name in _teacher_text(Path(folder, CONFIG)):
            found.append(Path(folder))
    return found


def _teacher_text(config: Path) -> str:
    """What a configuration has from its teacher on; nothing where it cannot be read."""
    try:
        text = read_bounded(config, MAX_BYTES, error=CheckpointError).decode("utf-8", "replace")
    except CheckpointError:
        return ""
    return f"\n{text}".partition("\nteacher:")[2]


def _take_away(path: Path, target: Path | None) -> None:
    """Move a run into the trash, or delete it; a process that works in it keeps it."""
    with RunLock(path):
        _check_idle(path)
        place = path.with_name(temporary_name("trash")) if target is None else target
        make_directory(place.parent)
        if target is not None and target.exists():
            raise MachineError(f"{target.name} is in the trash already", where=str(target), fix="move it first")
        with translated(place):
            os.rename(path, place)
            fsync_directory(path.parent)
    if target is None:
        remove_tree(place)


def _check_idle(path: Path) -> None:
    if (path / RECORD).exists():
        try:
            run = RunDir.open(path)
        except CheckpointError:  # a damaged record is a reason to take it away
            return
        if run.status == "running":
            what = f"process {run.record.pid} of {run.record.host} is working in it"
            raise UsageError(what, where=str(path), fix="end it first")


def _say(done: Sequence[dict[str, str | None]], root: Path, flags: Flags) -> None:
    if flags.json:
        sys.stdout.write(json.dumps({"schema": 1, "removed": done, "dry_run": flags.dry_run}, indent=2) + "\n")
        return
    would = "would be " if flags.dry_run else ""
    for each in done:
        where = "deleted" if each["trash"] is None else f"moved to {each['trash']}"
        sys.stdout.write(escape_controls(f"{each['run']} {would}{where}").replace("\n", " ") + "\n")
    kept = [str(each["run"]) for each in done if each["trash"] is not None]
    if kept and not flags.dry_run:
        words = [Path(each).name for each in kept] + [f"output_dir={root}"] * (str(root) != "outputs")
        sys.stdout.write(escape_controls(f"bring back: kd runs restore {shlex.join(words)}") + "\n")


def restore(names: Sequence[str], root: Path, flags: Flags) -> int:
    """Bring runs back from the trash, all of them or none.

    Args:
        names: What they are called.
        root: The output directory.
        flags: With ``json`` there is one document, with ``dry_run`` nothing is changed.

    Raises:
        UsageError: None is there of that name.
        MachineError: Its place is taken.
    """
    found = [_in_trash(name, root / TRASH) for name in dict.fromkeys(names)]
    places = [root / path.relative_to(root / TRASH) for path in found]
    for place in places:
        if place.exists():
            raise MachineError(f"{place.name} exists already", where=str(place), fix="move it first")
    for path, place in zip(found, places, strict=True):
        if not flags.dry_run:
            make_directory(place.parent)
            with translated(place):
                os.rename(path, place)
                fsync_directory(place.parent)
    if flags.json:
        content = {"schema": 1, "restored": [str(place) for place in places], "dry_run": flags.dry_run}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        said = "would be back" if flags.dry_run else "is back"
        sys.stdout.write("".join(escape_controls(f"{place} {said}").replace("\n", " ") + "\n" for place in places))
    return 0


def _in_trash(name: str, trash: Path) -> Path:
    there = [path for pattern in ("*/*", "*/*/*", "*/*/*/*") for path in sorted(trash.glob(pattern))]
    runs = [path for path in there if _is_whole(path, trash)]
    found = [path for path in runs if name in (path.name, "/".join(path.relative_to(trash).parts[1:]))]
    if len(found) != 1:
        fix = f"in the trash: {', '.join(path.name for path in runs[:5]) or 'nothing'}"
        raise UsageError(f"{len(found)} runs in {trash} are called {name!r}", where=name, fix=fix)
    return found[0]
