"""The figures of a run's findings: their numbers, and names from anywhere."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from kdcli.report.confusion import confusion
from kdcli.report.findings import finding_sections
from kdcli.report.gallery import Shape, Tile, gallery
from kdcli.report.reliability import Calibrated, reliability
from kdcli.schema.findings import (
    Answer,
    Confused,
    Cost,
    Example,
    Findings,
    Gallery,
    NetworkFindings,
    Pictures,
    Scaled,
    Softened,
    SoftTarget,
)
from kdcli.schema.results import Latency, ReliabilityBin, TestMeasures


def network(name: str, classes: int, *, scaled: bool = True) -> NetworkFindings:
    bins = [
        ReliabilityBin(lower=0.0, upper=0.5, count=5, confidence=0.4, accuracy=0.2),
        ReliabilityBin(lower=0.5, upper=1.0, count=95, confidence=0.9, accuracy=0.95),
    ]
    test = TestMeasures(n=100, errors=8, top1=0.92, top5=1.0, nll=0.3, brier=0.1, ece=0.05, rmse=0.1)
    matrix = [[0 if i != j else 9 for j in range(classes)] for i in range(classes)]
    matrix[0][1] = 3
    return NetworkFindings(
        name=name,
        model="mlp_30",
        cost=Cost(parameters=10, macs=9, bytes=40, latency=Latency(batch=1, median=1e-4, p90=2e-4)),
        val_top1=0.9,
        test=test,
        reliability=bins,
        scaled=Scaled(temperature=1.5, nll=0.2, ece=0.01, reliability=bins) if scaled else None,
        confusion=matrix,
        confused=[Confused(label=0, prediction=1, times=3)],
    )


def findings(names: list[str], *, pictured: bool, scaled: bool = True) -> Findings:
    answers = {name: Answer(prediction=1, confidence=0.9) for name in ("student", "teacher")}
    example = Example(index=7, label=0, answers=answers)
    return Findings(
        schema=1,
        classes=names,
        networks=[network(name, len(names), scaled=scaled) for name in ("student", "teacher")],
        galleries=[Gallery(kind="disagree", total=0, examples=[]), Gallery(kind="wrong", total=30, examples=[example])],
        soft_targets=[
            SoftTarget(
                index=7,
                label=0,
                classes=[0, 1],
                softened=[Softened(temperature=t, probabilities=[0.7, 0.3]) for t in (1.0, 4.0, 20.0)],
            )
        ],
        soft_targets_of="teacher",
        pictures=Pictures(indices=[7], channels=3, height=2, width=1, data="AAAA////") if pictured else None,
    )


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("pictured", [True, False])
def test_sections_show_every_part(tmp_path: Path, pictured: bool) -> None:
    sections = {
        each.title: each.html for each in finding_sections(findings(["cat", "dog"], pictured=pictured), tmp_path)
    }
    assert "Nowhere on the test set." in sections["Where student and teacher disagree"]
    assert "30 test examples; these are the 1 that" in sections["Where both are wrong"]
    assert ("<img" in sections["Where both are wrong"]) == pictured
    assert "1.50" in sections["How far its confidence can be trusted"]
    assert rows_of(tmp_path / "confusion.csv") == [
        ["label as prediction", "cat", "dog"],
        ["cat", "9", "3"],
        ["dog", "0", "9"],
    ]


def test_many_classes_have_a_list_and_a_matrix_without_numbers(tmp_path: Path) -> None:
    (section,) = [
        each
        for each in finding_sections(findings([f"c{k}" for k in range(30)], pictured=False), tmp_path)
        if "confused" in each.title
    ]
    assert "<details>" not in section.html
    assert "<td>c0</td><td>c1</td>" in section.html


def test_without_scaling_there_is_one_diagram(tmp_path: Path) -> None:
    both = [
        Calibrated(each.name, each.test.ece, each.reliability, each.scaled)
        for each in (network("student", 2), network("teacher", 2))
    ]
    reliability(both, tmp_path / "two")
    reliability([replace(each, scaled=None) for each in both], tmp_path / "one")
    with Image.open(tmp_path / "two.png") as two, Image.open(tmp_path / "one.png") as one:
        assert one.width < two.width
    assert [row[1] for row in rows_of(tmp_path / "two.csv")[1:]] == ["1.0"] * 4 + ["1.5"] * 4


def test_a_gallery_shows_the_very_pixels(tmp_path: Path) -> None:
    drawing = gallery([Tile(b"\xff\x00\x00", [("label", False)])], Shape(3, 1, 1), tmp_path / "g", ["place"], [[1]])
    with Image.open(drawing.png) as image:
        assert image.convert("RGB").getpixel((image.width // 2, image.height // 3)) == (255, 0, 0)


def test_names_from_anywhere_are_drawn_and_inert(tmp_path: Path, hostile_names: tuple[str, ...]) -> None:
    found = findings(list(hostile_names), pictured=True)
    html = "".join(each.html for each in finding_sections(found, tmp_path))
    assert "<script" not in html
    assert html.encode()
    confusion([[1, 0], [0, 1]], hostile_names[:2], tmp_path / "c", title=hostile_names[0])
