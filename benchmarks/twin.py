"""The U-Net of `ado_nas.models.unet` in PyTorch, with the same parameters under the same names."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ado_nas.specs import UNetSpec

ACTIVATION = {"relu": F.relu, "hardswish": F.hardswish, "silu": F.silu, "gelu": F.gelu}
_FREQUENCIES, _HIGHEST = 16, 64.0


class Resnet(nn.Module):
    """See `ado_nas.models.blocks.Resnet`."""

    def __init__(self, spec: UNetSpec, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(spec.groups, inputs, eps=1e-5)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(spec.time_width, outputs)
        self.norm2 = nn.GroupNorm(spec.groups, outputs, eps=1e-5)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 1)
        self.act = ACTIVATION[spec.activation]

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        """(B, C_in, H, W) and (B or 1, E) to (B, C_out, H, W)."""
        h = self.conv1(self.act(self.norm1(x))) + self.time_emb_proj(temb)[:, :, None, None]
        h = self.conv2(self.act(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Attention(nn.Module):
    """See `ado_nas.models.attention.Attention`."""

    def __init__(self, spec: UNetSpec, width: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(spec.groups, width, eps=1e-5)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.head_dim = spec.head_dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same."""
        b, c, h, w = x.shape
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            f(tokens).view(b, h * w, -1, self.head_dim).transpose(1, 2)
            for f in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.to_out[0](mixed).transpose(1, 2).reshape(b, c, h, w)


class Sampler(nn.Module):
    """A convolution that halves the sides (`down`) or doubles them."""

    def __init__(self, width: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(width, width, 3, stride=2 if down else 1, padding=0 if down else 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to half or twice the sides."""
        if self.down:
            return self.conv(F.pad(x, (0, 1, 0, 1)))
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Level(nn.Module):
    """See `ado_nas.models.unet.Level`."""

    def __init__(self, spec: UNetSpec, inputs: list[int], level: int, attentions: int) -> None:
        super().__init__()
        width = spec.widths[level]
        self.resnets = nn.ModuleList([Resnet(spec, i, width) for i in inputs])
        if spec.attention[level] != "none":
            self.attentions = nn.ModuleList([Attention(spec, width) for _ in range(attentions)])

    def attend(self, x: torch.Tensor, index: int) -> torch.Tensor:
        """Apply the attention after block `index`, where the level has any."""
        return self.attentions[index](x) if hasattr(self, "attentions") else x


class TwinUNet(nn.Module):
    """See `ado_nas.models.unet.UNet`; images are (B, C, H, W)."""

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        widths, blocks = spec.widths, spec.blocks
        folded = spec.in_channels * spec.patch**2
        self.spec, self.act = spec, ACTIVATION[spec.activation]
        self.conv_in = nn.Conv2d(folded, widths[0], 3, padding=1)
        self.time_embedding = nn.ModuleDict(
            {
                "linear_1": nn.Linear(2 * _FREQUENCIES, spec.time_width),
                "linear_2": nn.Linear(spec.time_width, spec.time_width),
            }
        )
        if spec.num_classes:
            self.class_embedding = nn.Embedding(spec.num_classes + 1, spec.time_width)
        skips = [widths[0]]
        self.down_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            inputs = [skips[-1] if i == 0 else width for i in range(blocks[level])]
            block = Level(spec, inputs, level, len(inputs))
            skips += [width] * blocks[level]
            if level + 1 < len(widths):
                block.downsamplers = nn.ModuleList([Sampler(width, down=True)])
                skips.append(width)
            self.down_blocks.append(block)
        if spec.middle:
            self.mid_block = Level(spec, [widths[-1]] * 2, len(widths) - 1, 1)
        self.up_blocks = nn.ModuleList()
        below = widths[-1]
        for level in reversed(range(len(widths))):
            inputs = []
            for _ in range(blocks[level] + 1):
                inputs.append(below + skips.pop())
                below = widths[level]
            block = Level(spec, inputs, level, len(inputs))
            if level > 0:
                block.upsamplers = nn.ModuleList([Sampler(below, down=False)])
            self.up_blocks.append(block)
        self.conv_norm_out = nn.GroupNorm(spec.groups, widths[0], eps=1e-5)
        self.conv_out = nn.Conv2d(widths[0], folded, 3, padding=1)

    def forward(
        self, x: torch.Tensor, c_noise: torch.Tensor, labels: torch.Tensor | None
    ) -> torch.Tensor:
        """The raw prediction: (B, C, H, W), (B,) or (1,), (B,) to (B, C, H, W)."""
        temb = self.act(self._embed(c_noise, labels))
        x = self.conv_in(_fold(x, self.spec.patch))
        skips = [x]
        for block in self.down_blocks:
            for i, resnet in enumerate(block.resnets):
                x = block.attend(resnet(x, temb), i)
                skips.append(x)
            if hasattr(block, "downsamplers"):
                x = block.downsamplers[0](x)
                skips.append(x)
        if hasattr(self, "mid_block"):
            x = self.mid_block.attend(self.mid_block.resnets[0](x, temb), 0)
            x = self.mid_block.resnets[1](x, temb)
        for block in self.up_blocks:
            for i, resnet in enumerate(block.resnets):
                x = block.attend(resnet(torch.cat([x, skips.pop()], dim=1), temb), i)
            if hasattr(block, "upsamplers"):
                x = block.upsamplers[0](x)
        x = self.conv_out(self.act(self.conv_norm_out(x)))
        return _unfold(x, self.spec.patch)

    def _embed(self, c_noise: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        steps = torch.arange(_FREQUENCIES) / (_FREQUENCIES - 1)
        angles = c_noise[:, None] * torch.exp(steps * math.log(_HIGHEST))[None]
        features = torch.cat([angles.cos(), angles.sin()], dim=-1)
        hidden = self.act(self.time_embedding["linear_1"](features))
        temb: torch.Tensor = self.time_embedding["linear_2"](hidden)
        if not hasattr(self, "class_embedding") or labels is None:
            return temb
        return temb + self.class_embedding(labels)


def denoise(
    model: TwinUNet, x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None
) -> torch.Tensor:
    """See `ado_nas.diffusion.preconditioning.denoise`, for the edm prediction."""
    s, data = sigma[:, None, None, None], model.spec.sigma_data
    root = torch.rsqrt(s * s + data**2)
    raw = model(root * x, torch.log(sigma) / 4, labels)
    return data**2 * root * root * x + s * data * root * raw


def edm_loss(
    model: TwinUNet,
    x0: torch.Tensor,
    sigma: torch.Tensor,
    noise: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """See `ado_nas.training.teacher.edm_loss`."""
    clean = denoise(model, x0 + sigma[:, None, None, None] * noise, sigma, labels)
    data = model.spec.sigma_data
    weight = (sigma * sigma + data**2) / (sigma * data) ** 2
    return torch.mean(weight * torch.square(clean - x0).mean(dim=(1, 2, 3)))


def dpmpp_2m(
    model: TwinUNet, start: torch.Tensor, levels: np.ndarray, labels: torch.Tensor
) -> torch.Tensor:
    """See `ado_nas.diffusion.solvers.dpmpp_2m`; from unit noise to images."""
    x, previous, last_h = start * float(levels[0]), None, 0.0
    for now, then in itertools.pairwise(levels):
        d = denoise(model, x, torch.tensor([float(now)]), labels)
        if then == 0:
            return d
        h = math.log(now / then)
        mixed = d
        if previous is not None:
            half = h / (2 * last_h)
            mixed = (1 + half) * d - half * previous
        x = float(then / now) * x - math.expm1(-h) * mixed
        previous, last_h = d, h
    return x


def load(model: TwinUNet, weights: dict[str, np.ndarray]) -> None:
    """Take over MLX's parameters: convolutions from (O, kH, kW, I) to (O, I, kH, kW)."""
    wanted = model.state_dict()
    state = {}
    for name, value in weights.items():
        tensor = channels_first(value) if value.ndim == 4 else torch.from_numpy(value)
        state[name] = tensor.reshape(wanted[name].shape).contiguous()
    model.load_state_dict(state, strict=True)


def gradients(model: TwinUNet) -> dict[str, np.ndarray]:
    """The gradients in MLX's layout, (O, kH, kW, I)."""
    found = {}
    for name, value in model.named_parameters():
        assert value.grad is not None
        grad = value.grad.permute(0, 2, 3, 1) if value.ndim == 4 else value.grad
        found[name] = grad.numpy().copy()
    return found


def channels_first(values: np.ndarray) -> torch.Tensor:
    """(N, H, W, C) to (N, C, H, W)."""
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()


def _fold(x: torch.Tensor, factor: int) -> torch.Tensor:
    b, c, h, w = x.shape
    x = x.view(b, c, h // factor, factor, w // factor, factor)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(b, -1, h // factor, w // factor)


def _unfold(x: torch.Tensor, factor: int) -> torch.Tensor:
    b, c, h, w = x.shape
    x = x.view(b, factor, factor, c // factor**2, h, w)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(b, c // factor**2, h * factor, w * factor)
