"""How wide a table may be."""

from __future__ import annotations

import shutil
import sys

_ENDLESS = 10_000


def terminal_width() -> int:
    """Columns of the terminal, or as COLUMNS says; without either nothing is cut: a file or a program reads it."""
    fallback = 100 if sys.stdout.isatty() else _ENDLESS
    return shutil.get_terminal_size((fallback, 24)).columns
