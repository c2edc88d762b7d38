"""The JSON Schemas of what kd writes and prints, as files in ``kdcli/schema/json``; ``scripts/schemas`` writes them."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from kdcli import schema
from kdcli.rundir import RunRecord
from kdcli.schema import outputs, results

FOLDER = Path(schema.__file__).parent / "json"
DOCUMENTS: dict[str, type[BaseModel]] = {
    "run": RunRecord,
    "summary": results.Summary,
    "metrics-line": results.MetricsLine,
    "evaluation": results.Evaluation,
    "sweep-summary": outputs.SweepSummary,
    "search-summary": outputs.SearchSummary,
    "runs": outputs.Runs,
    "runs-rm": outputs.Removed,
    "runs-restore": outputs.Restored,
    "compare": outputs.Compared,
    "report": outputs.Reports,
    "verify": outputs.Verified,
    "doctor": outputs.Examined,
    "study-list": outputs.Studies,
}


def schema_text(name: str) -> str:
    """The content of a schema's file."""
    made = DOCUMENTS[name].model_json_schema(mode="serialization")
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"kd-{name}-1"} | made
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_schemas() -> None:
    """Bring the files in step with the models."""
    FOLDER.mkdir(exist_ok=True)
    for name in DOCUMENTS:
        (FOLDER / f"{name}.json").write_text(schema_text(name), encoding="utf-8")
