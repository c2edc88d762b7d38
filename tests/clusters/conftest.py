"""The sweep that the others are compared with: in one process, undisturbed."""

from __future__ import annotations

import pytest

from tests.clusters.cluster import LONG, Sweeping, finished


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sweeping:
    """All jobs, one after another."""
    return finished(tmp_path_factory.mktemp("undisturbed") / "here", *LONG)
