"""The terms of the training losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Widths of the kernels relative to the dimension, so that near and far points both count.
KERNEL_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def clip_loss(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of logits [N, 3] against labels [N], averaged over the clips by weights [N]; 0 where all weights
    are.
    """
    losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp_min(1e-8)


def group_loss(sizes: Tensor, buckets: Tensor) -> Tensor:
    """Cross-entropy of group-size logits [N, B] against buckets [N]; -1 is unknown. 0 where none is known."""
    return F.cross_entropy(sizes, buckets, ignore_index=-1, reduction="sum") / (buckets >= 0).sum().clamp_min(1)


def mmd(latent: Tensor, generator: torch.Generator) -> Tensor:
    """Squared maximum mean discrepancy between latents [N, D] and as many draws of a standard normal, at least 0.

    Gretton et al. 2012, eq. 5 (the biased estimate), with a sum of Gaussian kernels exp(-|x - y|^2 / (2 s D)), s in
    `KERNEL_SCALES`; the expected squared distance of two normal draws is 2 D.
    """
    normal = torch.randn(latent.shape, generator=generator).to(latent)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = torch.cdist(a, b).square() / (2 * latent.shape[1])
        total = torch.zeros_like(distance)
        for scale in KERNEL_SCALES:
            total = total + torch.exp(-distance / scale)
        return total.mean()

    return kernel(latent, latent) + kernel(normal, normal) - 2 * kernel(latent, normal)


def heatmap_loss(drawn: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Mean squared error of heatmaps [N, T, J, H, W] over the clips whose maps are known [N]; 0 where none is."""
    per_clip = (drawn - wanted).square().flatten(1).mean(1)
    return (per_clip * known).sum() / known.sum().clamp_min(1)
