"""The last lines of a training: what came out, where it is, and what to run next."""

from __future__ import annotations

import json
import shutil
import sys

from kdcli.commands.flags import Flags
from kdcli.commands.reporting import write_report
from kdcli.rundir import RunDir
from kdcli.schema.results import Summary


def end_training(run: RunDir, output_dir: str, flags: Flags) -> int:
    """Show a finished training's verdict on stdout, or its summary as JSON."""
    summary = Summary.model_validate(run.summary())
    write_report(run)
    if flags.json:
        sys.stdout.write(json.dumps(summary.model_dump(by_alias=True), indent=2) + "\n")
        return 0
    from kdcli.report.verdict import training_verdict

    width = shutil.get_terminal_size((100, 24)).columns
    sys.stdout.write(training_verdict(summary, width=width) + "\n")
    return 0
