"""A network that runs whole at some steps of a sampler and as its leading channels at others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from ado_nas.errors import SpecError
from ado_nas.models.slices import Slice
from ado_nas.models.tree import named_arrays
from ado_nas.models.unet import UNet, named_parameters, unet_of
from ado_nas.specs import UNetSpec
from ado_nas.widths import by_step


class SteppedUNet(UNet):
    """A U-Net whose steps share weights but not widths. Called by itself, it runs whole.

    Args:
        spec: of the whole network.
        shares: of its widths at each step of the sampler, the most noise first.

    Source: the widths of a slimmable network (Yu et al. 2019), chosen by noise level as in Yang
    et al. 2023 (DDSM), section 3.
    """

    def __init__(self, spec: UNetSpec, shares: tuple[float, ...]):
        super().__init__(spec)
        self._steps = _Steps(spec, shares)

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the widths at each step."""
        return self._steps.shares

    @property
    def slices(self) -> list[Slice]:
        """The network of each step; steps of one width have the same."""
        return self._steps.slices

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Change parameters; the networks of the steps are cut again when next asked for."""
        self._steps.cut = None
        return super().update(*args, **kwargs)

    @property
    def networks(self) -> list[UNet]:
        """The evaluated network of each step, cut once for these weights."""
        if self._steps.cut is None:
            wide = dict(named_arrays(self.parameters()))
            made = {s: s.copy(wide) for s in self.slices}
            self._steps.cut = [made[s] for s in self.slices]
            mx.eval([n.parameters() for n in made.values()])
        return self._steps.cut


class _Steps:
    """Kept apart from the parameters of the module."""

    def __init__(self, spec: UNetSpec, shares: tuple[float, ...]) -> None:
        specs = by_step(spec, shares, len(shares))
        made = {narrow.hash: Slice(spec, narrow) for narrow in specs}
        self.shares = shares
        self.slices = [made[narrow.hash] for narrow in specs]
        self.cut: list[UNet] | None = None


def network(spec: UNetSpec, shares: tuple[float, ...] = ()) -> UNet:
    """A U-Net that runs whole at every step, or by shares of its widths."""
    return SteppedUNet(spec, shares) if shares else unet_of(spec)


def build_network(spec: UNetSpec, shares: tuple[float, ...], seed: int) -> UNet:
    """A freshly initialized, evaluated network; see `network`.

    Args:
        spec: of the whole network.
        shares: of its widths at each step; empty for all of it.
        seed: of the initial weights.
    """
    mx.random.seed(seed)
    model = network(spec, shares)
    mx.eval(model.parameters())
    return model


def networks(unet: UNet, steps: int) -> Sequence[UNet]:
    """The network of each step of a sampler.

    Raises:
        SpecError: it was made for another number of steps.
    """
    if not isinstance(unet, SteppedUNet):
        return [unet] * steps
    if len(unet.shares) != steps:
        raise SpecError(
            f"this network was made for {len(unet.shares)} steps of widths {unet.shares}, not "
            f"{steps}; sample it with {len(unet.shares)}"
        )
    return unet.networks


def held_bytes(unet: UNet) -> int:
    """Bytes of the weights, with the copies that narrower steps are cut to."""
    kept = [unet]
    if isinstance(unet, SteppedUNet):
        kept += {id(n): n for n in unet.networks if n.spec != unet.spec}.values()
    return sum(value.nbytes for model in kept for _, value in named_parameters(model))
