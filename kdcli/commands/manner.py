"""How a command carries out its runs: what its flags mean to the program."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdcli.commands.flags import Flags
from kdcli.commands.screen import escape_controls

if TYPE_CHECKING:
    from kdcli.program.run import Manner
    from kdcli.report.display import Display


def make_manner(overrides: Sequence[str], flags: Flags) -> Manner:
    """The manner that flags ask for; messages go to stderr."""
    from kdcli.program.run import Manner

    def say(line: str) -> None:
        if not flags.quiet:
            sys.stderr.write(escape_controls(line) + "\n")
            sys.stderr.flush()

    def display(title: str, names: Sequence[str], epochs: int, teacher_top1: float | None) -> Display:
        from kdcli.report.display import make_display

        return make_display(
            flags.progress,
            title=title,
            names=list(names),
            epochs=epochs,
            teacher_top1=teacher_top1,
            color=flags.color,
            quiet=flags.quiet,
        )

    return Manner(argv=sys.argv, overrides=overrides, smoke=flags.smoke, display=display, say=say)
