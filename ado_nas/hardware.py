"""What a search must know of the device, as plain values; imports no MLX."""

from __future__ import annotations

from dataclasses import dataclass

from ado_nas.errors import ConfigError, nearest

EXPENSIVE = {
    "exp": "exponentials (silu, gelu, softmax) cost over ten times a relu",
    "depthwise": "depthwise convolutions have no fast kernel, so separable ones save weights but "
    "little time",
    "half": "float16 and bfloat16 are computed one element at a time, many times slower than "
    "float32",
    "bfloat16": "bfloat16 is emulated, float16 is not",
}
"""Operations that can be out of proportion on a device, and what that means."""


@dataclass(frozen=True)
class Hardware:
    """The device of a search, as far as it says which candidates are worth trying."""

    kind: str  # metal, cuda or cpu
    dtype: str  # to train in
    width_multiple: int  # channels that fill the matrix unit
    fused_head_dims: tuple[int, ...]  # for which attention never holds its scores, fastest first
    expensive: tuple[str, ...]  # names of EXPENSIVE
    memory_budget_bytes: int

    def __post_init__(self) -> None:
        for name in self.expensive:
            if name not in EXPENSIVE:
                raise ConfigError(f"expensive {name!r} is unknown; {nearest(name, EXPENSIVE)}")
        if self.width_multiple < 1:
            raise ConfigError(f"width_multiple {self.width_multiple}: give at least 1")
