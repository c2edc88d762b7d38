"""``kd verify RUN``: is everything in a run directory as kd left it?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from kdcli.commands.audit import Audit, audit_run
from kdcli.commands.flags import Flags
from kdcli.commands.screen import escape_controls
from kdcli.errors import CheckpointError, UsageError
from kdcli.report.units import plural
from kdcli.rundir import resolve_run
from kdcli.rundir.run import CONFIG, RECORD, SUMMARY


def run(args: list[str], flags: Flags) -> int:
    """Check what the one argument names: one line a finding, and a last one that counts.

    Raises:
        UsageError: No RUN, or none that is there.
        CheckpointError: Something is damaged, missing or altered.
    """
    path = _named(args, smoke=flags.smoke)
    audit = audit_run(path)
    if flags.json:
        sys.stdout.write(_as_json(path, audit))
        return 0 if audit.whole else CheckpointError.exit_code
    for finding in audit.findings:
        kind = "note: " if finding.harmless else ""
        sys.stdout.write(escape_controls(f"{kind}{finding.where}: {finding.what}").replace("\n", " ") + "\n")
    if not audit.whole:
        count = sum(not finding.harmless for finding in audit.findings)
        raise CheckpointError(
            f"{count} of the findings above {'is' if count == 1 else 'are'} damage",
            where=str(path),
            fix="restore it from a copy, or train again; an unfinished run goes on from a whole checkpoint: kd resume",
        )
    counted = f"{plural(audit.files, 'file')}, {plural(audit.checkpoints, 'checkpoint')}"
    sys.stdout.write(escape_controls(f"whole: {counted} in {path}").replace("\n", " ") + "\n")
    return 0


def _named(args: list[str], *, smoke: bool) -> Path:
    roots = [arg.partition("=")[2] for arg in args if arg.startswith("output_dir=")]
    names = [arg.removeprefix("run=") for arg in args if not arg.startswith("output_dir=")]
    if len(names) != 1:
        raise UsageError(f"verify takes one RUN, got {' '.join(names)!r}", where="verify", fix="kd verify latest")
    (name,) = names
    if name != "latest" and Path(name).is_dir():
        if not any((Path(name) / each).exists() for each in (RECORD, CONFIG, SUMMARY)):  # each may be what is damaged
            raise UsageError(
                f"{name!r} is no run directory: it has no {RECORD}", where="verify", fix="kd verify latest"
            )
        return Path(name)
    return resolve_run(name, root=Path(roots[-1] if roots else "outputs"), purpose="run", smoke=smoke).path


def _as_json(path: Path, audit: Audit) -> str:
    content = {
        "schema": 1,
        "run": str(path),
        "whole": audit.whole,
        "files": audit.files,
        "checkpoints": audit.checkpoints,
        "findings": [asdict(finding) for finding in audit.findings],
    }
    return json.dumps(content, indent=2) + "\n"
