"""``kd data show``: what a network would be given, before anything is trained."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from kdcli.commands.composed import plain_data
from kdcli.commands.flags import Flags
from kdcli.commands.hydra_app import run_task
from kdcli.commands.request import Request
from kdcli.commands.task import Task
from kdcli.disk import remove_leftovers
from kdcli.errors import UsageError
from kdcli.json_io import encode_json
from kdcli.schema import DistillStudent, convert

if TYPE_CHECKING:
    from kdcli.program.samples import Samples

_SHOWN = 32
_NOBODY = "teacher=latest"
"""The settings are those of distill-student, which knows every transfer set; its teacher is not looked for."""


def run(args: list[str], flags: Flags) -> int:
    """Show the data that the settings name.

    Raises:
        UsageError: Another word than ``show``, or a wrong setting.
        DataError: The data are missing, damaged, or cannot be trained on.
    """
    words = [arg for arg in args if "=" not in arg and not arg.startswith("-")]
    if words != ["show"]:
        got = " ".join(words) or "nothing"
        raise UsageError(f"kd data takes the word show, got {got}", where="data", fix="kd data show dataset=mnist")
    request = Request.of("distill-student", [_NOBODY, *(arg for arg in args if arg != "show")])
    return run_task(request, _ShowTask(request, flags))


class _ShowTask(Task):
    """What Hydra calls with the composed settings."""

    def _run(self, config: DictConfig) -> int:
        from kdcli.program.samples import look

        typed = convert(DistillStudent, plain_data(config))
        samples = look(typed)
        stem = Path(typed.output_dir) / "data" / f"{samples.dataset}-{samples.view}"
        drawn = _draw(samples, stem) if samples.images is not None and not self.flags.dry_run else None
        if self.flags.json:
            sys.stdout.write(encode_json(_content(samples, drawn)).decode())
        else:
            self._print(samples, f"would write {stem}.png" if drawn is None else f"see   {drawn}")
        return 0

    def _print(self, samples: Samples, picture: str) -> None:
        from kdcli.report.samples import counts_table, ranges_table, terminal_images
        from kdcli.report.text import encodable

        width = shutil.get_terminal_size((100, 24)).columns
        blocks = [f"{samples.dataset}, views: {samples.view}"]
        colored = self.flags.color and sys.stdout.isatty()
        if samples.images is not None and colored and not encodable("▀", sys.stdout.encoding).isascii():
            blocks.append(terminal_images(samples.images, _names(samples), width=width))
        if samples.columns:
            blocks.append(ranges_table(samples.columns, width=width))
        blocks.append(counts_table(samples.classes, samples.counts, width=width))
        if samples.images is not None:
            blocks.append(picture)
        sys.stdout.write(encodable("\n\n".join(blocks) + "\n", sys.stdout.encoding))


def _names(samples: Samples) -> Sequence[str]:
    return [samples.classes[number] for number in samples.labels.tolist()]


def _draw(samples: Samples, stem: Path) -> Path:
    from kdcli.report.samples import sample_figure

    assert samples.images is not None
    drawing = sample_figure(samples.images[:_SHOWN], _names(samples)[:_SHOWN], stem)
    remove_leftovers(stem.parent)
    return drawing.png


def _content(samples: Samples, drawn: Path | None) -> dict[str, object]:
    return {
        "schema": 1,
        "dataset": samples.dataset,
        "view": samples.view,
        "classes": list(samples.classes),
        "counts": samples.counts,
        "columns": [asdict(each) for each in samples.columns],
        "figure": None if drawn is None else str(drawn),
    }
