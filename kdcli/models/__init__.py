"""Networks: a name, the shape of an example and the number of classes become a module with seeded weights.

Importing this package imports torch but not torchvision.
"""

from __future__ import annotations

from kdcli.models.counts import count_bytes, count_macs, count_parameters
from kdcli.models.placing import placed
from kdcli.models.registry import MODEL_NAMES, build_model

__all__ = ["MODEL_NAMES", "build_model", "count_bytes", "count_macs", "count_parameters", "placed"]
