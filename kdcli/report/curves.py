"""The course of a training as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdcli.report.plots import BLACK, BLUE, ORANGE, RED, Drawing, finish, panels, styled, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TERMS = ("train/loss", "train/hard", "train/soft")
_WIDE_RANGE = 10.0
_START = 5  # a fifth of the epochs


def curves(
    metrics: Sequence[Mapping[str, Any]],
    stem: Path,
    *,
    baseline: Sequence[Mapping[str, Any]] = (),
    teacher_top1: float | None = None,
    best_epoch: int | None = None,
) -> Drawing:
    """Loss terms, and top-1 on validation beside the baseline's and the teacher's, over the epochs.

    Args:
        metrics: The lines of metrics.jsonl.
        stem: The path without suffix.
        baseline: The baseline's lines.
        teacher_top1: The teacher's top-1 on validation, a fraction.
        best_epoch: The epoch whose checkpoint was selected.
    """
    with styled():
        has_val = any(line.get("val/top1") is not None for line in [*metrics, *baseline])
        figure, axes = panels(2 if has_val else 1, 9.0 if has_val else 5.5, 3.6)
        _draw_losses(axes[0], metrics)
        if has_val:
            _draw_validation(axes[1], metrics, baseline, teacher_top1, best_epoch)
        return write(figure, stem, *_curve_numbers(metrics, baseline))


def _series(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    known = [(line["epoch"], line[key]) for line in lines if line.get(key) is not None]
    return [epoch for epoch, _ in known], [value for _, value in known]


def _draw_losses(axes: Axes, metrics: Sequence[Mapping[str, Any]]) -> None:
    drawn: list[float] = []
    has_soft = any(line.get("train/soft") is not None for line in metrics)
    styles = zip(_TERMS, ("total", "hard", "soft"), (BLACK, BLUE, ORANGE), ("-", "--", "-."), strict=True)
    for key, label, color, line in styles if has_soft else [(_TERMS[0], "loss", BLACK, "-")]:
        epochs, values = _series(metrics, key)
        drawn += values
        if values:
            axes.plot(epochs, values, color=color, linestyle=line, label=label, marker=_dot(values))
    if drawn and min(drawn) > 0 and max(drawn) / min(drawn) > _WIDE_RANGE:
        _log_scale(axes)
    finish(axes, "epoch", "nats", "Loss on the training set")


def _log_scale(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _dot(values: Sequence[float]) -> str | None:
    return "o" if len(values) < 3 else None


def _draw_validation(
    axes: Axes,
    metrics: Sequence[Mapping[str, Any]],
    baseline: Sequence[Mapping[str, Any]],
    teacher_top1: float | None,
    best_epoch: int | None,
) -> None:
    if teacher_top1 is not None:
        axes.axhline(100 * teacher_top1, color=RED, linestyle=":", label="teacher")
    label = "student" if baseline or teacher_top1 is not None else "validation"
    drawn = []
    for lines, name, color, style in ((metrics, label, BLUE, "-"), (baseline, "baseline", ORANGE, "--")):
        epochs, values = _series(lines, "val/top1")
        drawn.append([100 * value for value in values])
        if values:
            axes.plot(epochs, drawn[-1], color=color, linestyle=style, label=name, marker=_dot(values))
    chosen = [(line["epoch"], 100 * line["val/top1"]) for line in metrics if line["epoch"] == best_epoch]
    if chosen:
        axes.plot(*chosen[0], "o", color=BLUE, markersize=7, label="selected")
    _skip_start(axes, drawn)
    finish(axes, "epoch", "%", "Top-1 on validation")


def _skip_start(axes: Axes, drawn: Sequence[Sequence[float]]) -> None:
    """Let the lines come in from below: what matters is decided far above where the first epochs begin."""
    late = [value for values in drawn for value in values[len(values) // _START :]]
    if len(late) < sum(map(len, drawn)):
        margin = 0.1 * (max(late) - min(late)) + 0.01
        axes.set_ylim(bottom=max(axes.get_ylim()[0], min(late) - margin))


def _curve_numbers(
    metrics: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[list[float | None]]]:
    keys = [*_TERMS, "val/top1"]
    own, other = ({line["epoch"]: line for line in lines} for lines in (metrics, baseline))
    rows: list[list[float | None]] = []
    for epoch in sorted({*own, *other}):
        values = [own.get(epoch, {}).get(key) for key in keys]
        rows.append([epoch, *values, *(other.get(epoch, {}).get(key) for key in ("train/loss", "val/top1"))])
    return ["epoch", *keys, "baseline train/loss", "baseline val/top1"], rows
