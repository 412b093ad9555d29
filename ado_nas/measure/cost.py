"""What a U-Net costs by its spec alone: nothing is built."""

from __future__ import annotations

from dataclasses import dataclass

from ado_nas.models.plan import Layer, layers
from ado_nas.specs import UNetSpec

_BYTES = 4  # float32


@dataclass(frozen=True)
class Cost:
    """A network's static cost, for one evaluation of one image in float32."""

    params: int
    macs: int  # multiply-accumulates
    bytes: int  # of the parameters
    activation_bytes: int  # of every layer's output: what training keeps, per image

    @property
    def size_mb(self) -> float:
        """Megabytes (10^6 bytes) of the parameters."""
        return self.bytes / 1e6

    @property
    def figures(self) -> dict[str, float]:
        """What a trial or an attempt tells of it."""
        return {"params": self.params, "macs": self.macs, "size_mb": self.size_mb}


def cost(spec: UNetSpec) -> Cost:
    """Sum up a network.

    Args:
        spec: the architecture.

    Returns:
        Exact parameters; MACs of convolutions, linear layers and attention. A stride-2 convolution
        counts its 9 taps, however it is computed.
    """
    found = [layer_cost(layer, spec) for layer in layers(spec)]
    return Cost(
        sum(c.params for c in found),
        sum(c.macs for c in found),
        sum(c.bytes for c in found),
        sum(c.activation_bytes for c in found),
    )


def layer_cost(layer: Layer, spec: UNetSpec) -> Cost:
    """One layer's part of `cost`; the one that makes an attention's queries has the attention."""
    params, kept, macs = parameters(layer), _outputs(layer), _macs(layer)
    if layer.keys:
        tokens, width = layer.side**2, layer.out.width
        # Scores and their mix with the values; training keeps the scores of every head.
        macs += 2 * tokens * layer.keys * width
        kept += width // spec.head_dim * tokens * layer.keys + tokens * width
    return Cost(params, macs, params * _BYTES, kept * _BYTES)


def parameters(layer: Layer) -> int:
    """Elements of a layer's weight and, where it has one, its bias."""
    width = layer.out.width
    if layer.kind in ("norm", "rms"):
        return 2 * width if layer.kind == "norm" else width
    if layer.kind == "depthwise":
        return layer.kernel**2 * width
    weights = layer.kernel**2 * layer.fan_in * width
    return weights if layer.kind == "embedding" else weights + width


def _macs(layer: Layer) -> int:
    if layer.kind == "depthwise":
        return layer.kernel**2 * _outputs(layer)
    if layer.kind not in ("conv", "linear"):
        return 0
    return layer.kernel**2 * layer.fan_in * _outputs(layer)


def _outputs(layer: Layer) -> int:
    return layer.out.width * max(1, layer.side) ** 2
