"""What could have been learned for a model, without learning it."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from ado_nas.adaptive.complexity import Budgets, Complexity
from ado_nas.adaptive.countdown import WIDTH, Countdown
from ado_nas.adaptive.policy import Actor
from ado_nas.adaptive.scheduler import AdaptiveScheduler
from ado_nas.modelfolder import Model, identity


def by_content(model: Model) -> AdaptiveScheduler:
    """Two evaluations or four, by how much the slope turns."""
    levels = {2: [20.0, 2.0, 0.0], 4: [20.0, 2.0, 1.0, 0.2, 0.0]}
    schedules = Budgets("ddim", {n: np.array(v) for n, v in levels.items()})
    weights, edges = np.array([1.0, 0, 0, 0]), np.array([-1.0])
    rule = Complexity(np.zeros(4), np.ones(4), weights, edges, np.array([2, 4]))
    return AdaptiveScheduler(schedules, rule, identity(model))


def untrained_actor(game: Countdown) -> Actor:
    """A policy of one layer at random."""
    weight = np.random.default_rng(0).normal(0, 1, (game.limit, WIDTH)).astype(np.float32)
    return Actor(game, ((mx.array(weight), mx.zeros((game.limit,))),))
