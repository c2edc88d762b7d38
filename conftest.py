"""What the doctests leave out: a module whose package is an extra that is not installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("ray") else ["kdcli/commands/ray_launcher.py"]
