"""A network layer by layer: what each has, does and keeps, and what share of the time it takes."""

from __future__ import annotations

from dataclasses import dataclass

from ado_nas.measure.cost import layer_cost
from ado_nas.measure.operators import of_layer
from ado_nas.measure.predictor import Predictor
from ado_nas.models.plan import layers
from ado_nas.specs import UNetSpec


@dataclass(frozen=True)
class LayerProfile:
    """One layer, for one evaluation of one image."""

    layer: str
    kind: str
    side: int  # of its map in pixels; 0 for a layer on vectors
    params: int
    macs: int
    activation_bytes: int
    time_share: float | None  # of the network's operators; None without a table of them


def profile_layers(spec: UNetSpec, table: Predictor | None = None) -> list[LayerProfile]:
    """Profile a network by its spec.

    Args:
        spec: the architecture.
        table: operators as timed on this device; what it lacks is estimated from those alike.

    Returns:
        Its layers in the order of the forward pass. Doubling and folding of maps belong to no
        layer, so that shares of time add up to less than 1.
    """
    total = table.total(spec) if table else 0.0
    found = []
    for layer in layers(spec):
        own = layer_cost(layer, spec)
        share = None
        if table:
            share = round(sum(table.time(o) for o in of_layer(spec, layer)) / total, 4)
        costs = own.params, own.macs, own.activation_bytes
        found.append(LayerProfile(layer.name, layer.kind, layer.side, *costs, share))
    return found
