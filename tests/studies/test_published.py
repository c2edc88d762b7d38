"""The published schemas: they take the studies that kd carries, and refuse what kd refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kdcli.commands.conf_files import conf_dir
from kdcli.schema.base import Section
from kdcli.studies.form import Study
from kdcli.studies.published import json_schema
from kdcli.yaml_io import load_yaml

jsonschema = pytest.importorskip("jsonschema")
STUDIES = sorted((conf_dir() / "study").rglob("*.yaml"))


def errors(data: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema("study"))
    return [error.message for error in validator.iter_errors(data)]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_fits_the_schema(path: Any) -> None:
    assert errors(load_yaml(path)) == []


def test_a_parameter_may_stand_for_anything() -> None:
    data = load_yaml(conf_dir() / "study" / "quickstart.yaml")
    data["runs"]["student"]["overrides"] = "${overrides}"
    data["rows"][0]["expect"] = ["${low}", "${high}"]
    assert errors(data) == []


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("title",), 3),
        (("runs", "teacher", "colour"), "red"),
        (("runs", "student", "seeds"), "many"),
        (("rows", 0, "digits"), 9),
        (("rows", 0, "expect"), [1]),
        (("rows", 0, "value"), {"op": "eval", "of": ["a.b"]}),
        (("rows",), {}),
    ],
)
def test_what_kd_refuses_the_schema_refuses(path: tuple[Any, ...], to: Any) -> None:
    data = copy.deepcopy(load_yaml(conf_dir() / "study" / "quickstart.yaml"))
    place: Any = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    assert errors(data)


def test_every_key_of_the_form_is_in_the_schema() -> None:
    schema = json_schema("study")
    assert schema["properties"].keys() == {*Study.model_fields, "parameters", "budgets"}
    for name in ("StudyRun", "StudyRow", "StudyFigure", "Derived"):
        assert schema["$defs"][name]["additionalProperties"] is False
        kind = next(each for each in Section.__subclasses__() if each.__name__ == name)
        assert schema["$defs"][name]["properties"].keys() == kind.model_fields.keys()
