"""Real images to learn from and to be judged by, each set with a digest of its content."""

from __future__ import annotations

from ado_nas.data.catalog import build, check, datasets, load, verify
from ado_nas.data.dataset import Dataset, Split
from ado_nas.data.pyramid import at

__all__ = ["Dataset", "Split", "at", "build", "check", "datasets", "load", "verify"]
