"""The engine of ADO-NAS: diffusion models in MLX, how they are trained, distilled and judged.

Importing it, or any module of it, first makes MLX fast on this machine (`runtime.start`). The
names in `__all__` load MLX when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ado_nas import runtime

if TYPE_CHECKING:
    from ado_nas.adaptive.scheduler import AdaptiveScheduler
    from ado_nas.engine import MLXDiffusionEngine
    from ado_nas.optimizer import (
        AdaptiveDiffusionOptimizer,
        DiffusionOptimizationConfig,
        DistillationStage,
        OptimizationMetrics,
        ProgressiveDistillation,
    )
    from ado_nas.scheduling import AdaptiveSamplingOptimizer

__all__ = [
    "AdaptiveDiffusionOptimizer",
    "AdaptiveSamplingOptimizer",
    "AdaptiveScheduler",
    "DiffusionOptimizationConfig",
    "DistillationStage",
    "MLXDiffusionEngine",
    "OptimizationMetrics",
    "ProgressiveDistillation",
]

_HOMES = {
    "AdaptiveSamplingOptimizer": "scheduling",
    "AdaptiveScheduler": "adaptive.scheduler",
    "MLXDiffusionEngine": "engine",
}  # the rest live in the optimizer

runtime.start()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "optimizer")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
