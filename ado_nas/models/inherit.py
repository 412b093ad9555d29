"""A student's first weights, taken from the teacher by role and feature-map side.

A narrower student takes the most important channels; a weight whose inputs were cut is scaled so
that its output keeps its variance. At equal widths nothing changes, so a student of the teacher's
shape is the teacher; a student of twice the width, or with more blocks, computes what it does.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from ado_nas.models.channels import Selection, importance, norm_groups
from ado_nas.models.conversion import converted
from ado_nas.models.picks import fits, passing, picks
from ado_nas.models.plan import Layer, layers
from ado_nas.models.stems import folded_head, folded_stem
from ado_nas.models.tree import assign
from ado_nas.models.unet import UNet, named_parameters

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Inheritance:
    """What came from the teacher."""

    fraction: float  # of the student's parameters


def inherit(student: UNet, teacher: UNet, order: str = "kept") -> Inheritance:
    """Overwrite the student's weights with those of the teacher, where the roles agree.

    Layers without a counterpart keep their fresh weights, with which blocks pass features on
    unchanged.

    Args:
        student: changed in place and evaluated.
        teacher: left as it is.
        order: of the channels; see `Selection`.

    Returns:
        How much was inherited.

    Source: Kim et al. 2024 (BK-SDM), section 4.1, for dropping blocks; Yu et al. 2019 (slimmable
    networks) for slices; Chen et al. 2016 (Net2Net), section 2, for widening and deepening.
    """
    weights = {name: np.array(value) for name, value in named_parameters(teacher)}
    plan = list(layers(teacher.spec))
    chosen = Selection(importance(plan, weights), order, norm_groups(teacher.spec))
    plan += folded_stem(student.spec, teacher, weights)
    plan += folded_head(student.spec, teacher, weights)
    sources = {layer.role: layer for layer in converted(plan, student.spec, weights)}
    taken: dict[str, Floats] = {}
    for layer in layers(student.spec):
        source = sources.get(layer.role)
        if source is not None and fits(layer, source):
            taken.update(_taken(layer, source, weights, chosen))
    share = sum(value.size for value in taken.values())
    for layer in layers(student.spec):
        if layer.name.endswith("conv_shortcut") and f"{layer.name}.weight" not in taken:
            taken.update(passing(layer))
    # In memory order, for MLX computes other layouts in another order.
    arrays = [(name, mx.array(np.ascontiguousarray(value))) for name, value in taken.items()]
    assign(student, arrays)
    mx.eval(student.parameters())
    total = sum(value.size for _, value in named_parameters(student))
    return Inheritance(share / total)


def _taken(
    layer: Layer, source: Layer, weights: dict[str, Floats], chosen: Selection
) -> dict[str, Floats]:
    found = {}
    for name, pick in picks(layer, source, chosen).items():
        value = weights.get(pick.source)
        # Only the bias of a norm may have no source: RMS norms have none.
        nothing = np.zeros(len(pick.first), np.float32)
        found[name] = nothing if value is None else pick.of(value)
    return found
