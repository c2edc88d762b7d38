"""Which code of the user's a configuration names."""

from __future__ import annotations

from pydantic import BaseModel

from kdcli.schema.data import OwnData
from kdcli.schema.method import OwnLoss
from kdcli.schema.model import Custom

SECTIONS = ("model", "loss", "dataset")


def code_named(config: BaseModel) -> str | None:
    """The first setting that names code, as ``model.target=package.module:name``; None where none does."""
    for name in SECTIONS:
        section = getattr(config, name, None)
        if isinstance(section, Custom | OwnLoss | OwnData):
            return f"{name}.target={section.target}"
    return None
