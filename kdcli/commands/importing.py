"""``kd import FILE``, from its configuration to its last lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kdcli.commands.ending import data_words
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.errors import CheckpointError, UsageError
from kdcli.json_io import encode_json
from kdcli.rundir import RunDir
from kdcli.schema import Import, convert
from kdcli.schema.results import Summary


def run(config: Import, overrides: Sequence[str], flags: Flags) -> int:
    """Make a RUN of foreign weights, and measure it.

    Raises:
        UsageError: There is no such file.
    """
    if not Path(config.file).is_file():
        fix = "give the path of a .pt, .pth or .safetensors file"
        raise UsageError(f"there is no file {config.file!r}", where="file", fix=fix)
    manner = make_manner(overrides, flags)
    from kdcli.program.importing import import_weights, plan_import

    found = plan_import(config, manner)
    if flags.dry_run:
        right = f"{100 * found.test.top1:.2f} % of {found.test.n:,} test examples right; nothing was written\n"
        sys.stdout.write(right)
        return 0
    made = import_weights(found, manner)
    summary = convert(Summary, made.summary(), error=CheckpointError, where=str(made.path / "summary.json"))
    if flags.json:
        sys.stdout.write(encode_json(summary.model_dump(by_alias=True)).decode())
    else:
        sys.stdout.write(_shown(made, summary, smoke=flags.smoke))
    return 0


def _shown(run: RunDir, summary: Summary, *, smoke: bool) -> str:
    from kdcli.report.paste import override
    from kdcli.report.text import clean, encodable
    from kdcli.report.units import count, decimals, percent

    test = summary.test
    again = [override("teacher", str(run.path)), *data_words(run)]
    lines = [
        f"{clean(summary.model)} with {count(summary.parameters)} parameters, on {clean(summary.dataset)}",
        f"test   {percent(test.top1)} % right ({count(test.errors)} errors of {count(test.n)}), "
        f"NLL {decimals(test.nll, 4)}, ECE {decimals(test.ece, 4)}",
        f"run    {clean(str(run.path))}",
        f"next   kd distill-student {clean(' '.join(again))}{' --smoke' * smoke}",
    ]
    if test.top1 < 2 / max(2, _classes(run)):
        lines.insert(2, "That is hardly better than chance: see that mean, std and the order of classes are right.")
    return encodable("\n".join(lines) + "\n", sys.stdout.encoding)


def _classes(run: RunDir) -> int:
    from kdcli.checkpoint import load
    from kdcli.schema.card import NetworkCard

    state = load(run.checkpoints, "last").state
    return len(convert(NetworkCard, state.get("card"), error=CheckpointError, where=str(run.path)).classes)
