"""``kd export RUN``: a trained network as one file that needs no kd."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdcli.commands.evaluate import with_network
from kdcli.commands.flags import Flags
from kdcli.commands.manner import make_manner
from kdcli.commands.nearest import did_you_mean
from kdcli.commands.screen import escape_controls
from kdcli.commands.words import one_of
from kdcli.errors import UsageError
from kdcli.extras import need
from kdcli.json_io import encode_json
from kdcli.rundir import RunDir, resolve_run
from kdcli.schema import Evaluate, convert

if TYPE_CHECKING:
    from kdcli.program.export import Plan, Wish
    from kdcli.schema.portable import ExportFile

_CHOICES = {"format": ("onnx", "torch"), "int8": ("false", "true"), "trust_code": ("false", "true")}
_DEFAULTS = {
    "format": "onnx", "int8": "false", "file": "", "ensemble": "arithmetic", "trust_code": "false",
    "output_dir": "outputs",
}  # fmt: skip


def run(args: list[str], flags: Flags) -> int:
    """Export what the one argument names, and say how far the file is from the run.

    Raises:
        UsageError: No RUN, an unknown setting, or a network that cannot be exported.
        CheckpointError: The run is damaged.
        MachineError: A package is missing, or the exported network says something else than the run.
    """
    found, settings = _named(args, smoke=flags.smoke)
    config = _config(found, settings)
    from kdcli.program.export import Wish, export, plan_export

    file = Path(settings["file"]) if settings["file"] else None
    wish = Wish("torch" if settings["format"] == "torch" else "onnx", settings["int8"] == "true", file)
    manner = make_manner(args, flags)
    _check_packages(wish)
    plan = plan_export(config, found, wish, manner.say, smoke=flags.smoke)
    if flags.dry_run:
        sys.stdout.write(escape_controls(f"would write {plan.target}\n"))
        return 0
    manner.say(f"export {plan.target}")
    path, told = export(plan)
    if flags.json:
        sys.stdout.write(encode_json(told.model_dump(by_alias=True)).decode())
    else:
        sys.stdout.write(_shown(path, told, _next(path, plan, config), smoke=flags.smoke))
    return 0


def _named(args: list[str], *, smoke: bool) -> tuple[RunDir, dict[str, str]]:
    settings = dict(_DEFAULTS)
    names = []
    for arg in args:
        key, equals, value = arg.partition("=")
        if not equals or key == "run":
            names.append(value if equals else arg)
        elif key not in settings:
            hint = did_you_mean(key, settings)
            raise UsageError(f"export does not take {key!r}{hint}", where=key, fix=f"it takes {', '.join(settings)}")
        else:
            settings[key] = value
    for key, allowed in _CHOICES.items():
        one_of(settings[key], allowed, key)
    if settings["int8"] == "true" and settings["format"] != "onnx":
        raise UsageError("int8=true is for format=onnx", where="int8", fix="leave one of them out")
    wrong = {"onnx": ".pt2", "torch": ".onnx"}[settings["format"]]
    if settings["file"].endswith(wrong):
        what = f"file={settings['file']} is called like another format than format={settings['format']}"
        raise UsageError(what, where="file", fix="name it .onnx for format=onnx, .pt2 for format=torch")
    if len(names) != 1:
        raise UsageError(f"export takes one RUN, got {' '.join(names)!r}", where="export", fix="kd export latest")
    run = resolve_run(names[0], root=Path(settings["output_dir"]), purpose="run", smoke=smoke)
    return with_network(run), settings


def _config(run: RunDir, settings: dict[str, str]) -> Evaluate:
    """What an evaluation of the run would be asked with."""
    asked = {
        "run": str(run.path),
        "ensemble": settings["ensemble"],
        "latency": False,
        "trust_code": settings["trust_code"] == "true",
        "device": "cpu",
        "output_dir": settings["output_dir"],
    }
    return convert(Evaluate, asked)


def _check_packages(wish: Wish) -> None:
    from kdcli.portable.written import PACKAGES

    if wish.format == "onnx":
        need("format=onnx", "onnx", *PACKAGES)


def _shown(path: Path, told: ExportFile, following: str, *, smoke: bool) -> str:
    from kdcli.report.text import clean, encodable
    from kdcli.report.units import count, percent, size

    card, check = told.card, told.check
    shape = " x ".join(map(str, ["batch", *card.input.shape]))
    within = "" if check.allowed is None else f" (allowed {check.allowed:.1g})"
    lines = [
        f"file   {clean(str(path))}  {size(told.bytes)}, {card.precision}; beside it {clean(path.name)}.json",
        f"input  {card.input.name}: {card.input.dtype}, {shape}: {card.input.meaning}; the normalisation is inside",
        f"output {card.output}: float32, batch x {len(card.classes)}",
        f"check  {count(check.examples)} test examples: largest difference of a logit "
        f"{check.largest_difference:.2g}{within}, same class {percent(check.agreement)} %",
        f"top-1  run {percent(check.top1_run)} %, file {percent(check.top1_file)} %",
    ]
    if smoke:
        lines.append("This was a smoke run, of at most 512 test examples.")
    lines.append(f"next   {clean(following)}")
    return encodable("\n".join(lines) + "\n", sys.stdout.encoding)


def _next(path: Path, plan: Plan, config: Evaluate) -> str:
    from kdcli.report.paste import override

    if path.suffix == ".onnx":
        trust = " trust_code=true" * config.trust_code
        return f"kd evaluate {override('run', [str(plan.subject.run.path), str(path)])}{trust}"
    return f"python -c {shlex.quote(f'import torch; print(torch.export.load({str(path)!r}))')}"
