"""What an optimization is told. Holds no array and imports no MLX."""

from __future__ import annotations

from dataclasses import dataclass, field

from ado_nas.errors import ConfigError, nearest
from ado_nas.specs import DistillationSpec

METHODS = ("auto", "anchored", "chained", "consistency")
COMPRESSIONS = ("none", "auto")


@dataclass(frozen=True)
class OptimizationSpec:
    """How far one model is to be distilled, and how."""

    target_steps: int = 4
    quality_threshold: float = 0.95  # least retention that the gate lets pass
    method: str = "auto"  # auto takes what `benchmark distillation` found best for the steps
    stages: tuple[int, ...] = ()  # the steps after each stage; empty to plan them
    stage_count: int = 0  # how many to plan; 0 for as many as are needed
    compress: str = "none"  # none; auto for the smallest that passes; or a size in MB
    noise_sets: int = 4  # that the gate judges on, each of the task's number of samples
    # The training of one stage; `steps` does not count here.
    training: DistillationSpec = field(
        default_factory=lambda: DistillationSpec(iterations=500, batch=64, learning_rate=2e-3)
    )
    seed: int = 0

    def __post_init__(self) -> None:
        if self.target_steps < 1:
            raise ConfigError(f"target_steps {self.target_steps}: give at least 1")
        if not 0 < self.quality_threshold <= 1:
            raise ConfigError(
                f"quality_threshold {self.quality_threshold}: give a number above 0, at most 1"
            )
        if self.method not in METHODS:
            raise ConfigError(f"no method {self.method!r}; {nearest(self.method, METHODS)}")
        if self.noise_sets < 2:
            raise ConfigError(f"noise_sets {self.noise_sets}: give at least 2, better 4")
        if self.stage_count < 0 or self.seed < 0:
            raise ConfigError(
                f"stage_count {self.stage_count} and seed {self.seed}: give 0 or more"
            )
        self.size_mb  # noqa: B018 - refuses what is no size

    @property
    def size_mb(self) -> float | None:
        """The size that `compress` asks for; None for none and auto."""
        if self.compress in COMPRESSIONS:
            return None
        try:
            size = float(self.compress)
        except ValueError:
            size = 0.0
        if not 0 < size < float("inf"):
            raise ConfigError(
                f"compress {self.compress!r}: give none, auto, or a size in MB above 0"
            )
        return size
