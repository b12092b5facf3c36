"""Layers that several of the published systems share. The weights are named as in PyTorch's own layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIT_NAME = "vit_large_patch14_clip_224.laion2b"


@dataclass(frozen=True)
class VitShape:
    """A CLIP ViT: side of its pictures and patches in pixels, width of its tokens, blocks, heads. Full size is
    ViT-L/14.
    """

    size: int = 224
    patch: int = 14
    dim: int = 1024
    depth: int = 24
    heads: int = 16


TINY_VIT = VitShape(size=32, patch=8, dim=32, depth=1, heads=2)


def clip_vit(shape: VitShape) -> nn.Module:
    """timm's CLIP ViT without a head and with random weights: [M, 3, size, size] to the class token's vector [M,
    dim].
    """
    return timm.create_model(
        VIT_NAME,
        pretrained=False,
        num_classes=0,
        img_size=shape.size,
        patch_size=shape.patch,
        embed_dim=shape.dim,
        depth=shape.depth,
        num_heads=shape.heads,
    )


class Attention(nn.Module):
    """Multi-head attention with the weights of `nn.MultiheadAttention`, written out so that any batch can be
    exported.
    """

    def __init__(self, dim: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        """Query [N, S, dim] and memory [N, R, dim], the keys and values, to [N, S, dim]."""
        dim = int(self.in_proj_bias.shape[0]) // 3
        sources = (query, memory, memory)
        parts = zip(sources, self.in_proj_weight.split(dim), self.in_proj_bias.split(dim), strict=True)
        q, k, v = (self.by_head(F.linear(x, weight, bias)) for x, weight, bias in parts)
        weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(dim // self.heads), dim=-1)
        return self.out_proj((self.dropout(weights) @ v).transpose(1, 2).flatten(2))

    def by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


def sine_positions(steps: int, dim: int) -> Tensor:
    """Sines and cosines [1, steps, dim] (Vaswani et al. 2017, section 3.5), interleaved; `dim` is even."""
    angle = torch.arange(steps)[:, None] * torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[None]


class FramePooling(nn.Module):
    """Weighted sum over time, [N, T, dim] to [N, dim]; the weights are a softmax over time of one linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(dim, 1), nn.Softmax(dim=1))

    def forward(self, steps: Tensor) -> Tensor:
        return (self.attention(steps) * steps).sum(1)
