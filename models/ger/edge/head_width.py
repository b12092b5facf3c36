"""How large people appear: the last stage of the edge network's training, and its figures.

The median width of the heads in a picture, as a share of the picture's width, is learnt on frozen vectors of frames:
those of the training sets, and the same frames shrunk into empty places, so that the network also measures people
smaller than any whose expression it learnt to read. The contract states the trained range: the middle 90 % of the
widths in the training's single frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ger.edge.features import BATCH, encode_frames, encode_pictures
from ger.edge.network import EdgeNetwork, HeadWidth
from ger.edge.training_sets import RELATIONS, Record, load
from ger.synthetic.camera import SIZE

SCALE_MIN = {"train": 0.3, "held": 0.2}  # the smallest scale to which frames are shrunk
DARK = RELATIONS.index("dark")
MARGIN = 1.2  # widths beyond the trained range by this factor are clearly outside it

Sized = tuple[Tensor, Tensor]  # vectors of frames [N, T, dim], and the median width of heads [N], 0 without people


def median_widths(heads: np.ndarray) -> np.ndarray:
    """Heads f32 [N, 32, 5], padded with -1, to median widths [N]; 0 where there are none."""
    widths = [2 * rows[rows[:, 4] >= 0, 2] for rows in heads]
    return np.array([np.median(own) if len(own) else 0.0 for own in widths], np.float32)


def shrunk(frame: np.ndarray, empty: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """The frame at this scale, at a random place in a picture without people; all u8 [SIZE, SIZE, 3]."""
    side = round(SIZE * scale)
    x, y = (int(v) for v in rng.integers(0, SIZE - side + 1, 2))
    picture = Image.fromarray(empty)
    picture.paste(Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC), (x, y))
    return np.asarray(picture)


def encode_shrunk(
    network: EdgeNetwork,
    frames: Sequence[np.ndarray],
    widths: np.ndarray,
    empty: Sequence[np.ndarray],
    side: str,
    seed: int,
) -> Sized:
    """Each frame once, at its own random scale (uniform in the logarithm), in one of the empty pictures."""
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.uniform(np.log(SCALE_MIN[side]), 0.0, len(frames)))
    vectors = []
    for start in range(0, len(frames), BATCH):
        chosen = rng.integers(0, len(empty), BATCH)
        rows = zip(frames[start : start + BATCH], chosen, scales[start : start + BATCH], strict=False)
        pictures = [shrunk(frame, empty[place], scale, rng) for frame, place, scale in rows]
        vectors.append(encode_frames(network, np.stack(pictures)[:, None]))
    return torch.cat(vectors), torch.from_numpy((widths * scales).astype(np.float32))


def fused_video(network: EdgeNetwork, vectors: Tensor) -> Tensor:
    """The frames' vectors as the fusion normalises them, averaged over time: [N, 1, dim]."""
    with torch.no_grad():
        return network.fusion.seen(vectors, torch.ones(len(vectors), 2)).mean(1, keepdim=True)


def clips_and_widths(name: str, cache: Path) -> tuple[Record, np.ndarray]:
    """A set of clips, and their median widths; a dark clip counts as one without people."""
    record = load(name, cache)
    dark = np.array(record["relation"]) == DARK
    return record, np.where(dark, 0.0, np.array(record["head_px"]) / SIZE).astype(np.float32)


def training_pairs(network: EdgeNetwork, cache: Path, seed: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """(vectors [N, 1, dim], logarithms of widths [N], the widths in all single frames)."""
    sets = [load(name, cache) for name in ("pictures", "few")]
    widths = [median_widths(record["heads"][:, 0]) for record in sets]
    empty = [
        record["video"][row, 0] for record, own in zip(sets, widths, strict=True) for row in np.flatnonzero(own == 0)
    ]
    rows = np.flatnonzero(widths[0])
    pairs = [*zip(sets, widths, strict=True), clips_and_widths("clips", cache)]
    sized = [(encode_pictures(network, record), torch.from_numpy(own)) for record, own in pairs]
    frames = [sets[0]["video"][row, 0] for row in rows]
    sized.append(encode_shrunk(network, frames, widths[0][rows], empty, "train", seed))
    x = torch.cat([fused_video(network, vectors) for vectors, _ in sized])
    y = torch.cat([own for _, own in sized])
    return x[y > 0], torch.log(y[y > 0]), np.concatenate(widths)


def train(network: EdgeNetwork, cache: Path, epochs: int, seed: int) -> list[float]:
    """Trains `network.head_width` alone. Returns the trained range: the middle 90 % of the widths in single frames."""
    layers = head_of(network)
    network.eval()
    x, y, widths = training_pairs(network, cache, seed)
    size, rate = min(64, len(y)), 2e-3
    optimiser = torch.optim.AdamW(layers.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * (len(y) // size))
    rng = np.random.default_rng([seed, 6])
    for epoch in range(epochs):
        losses = []
        order = rng.permutation(len(y))
        for start in range(0, len(y) - size + 1, size):
            chosen = torch.from_numpy(order[start : start + size])
            loss = F.smooth_l1_loss(layers.logarithm(x[chosen])[:, 0], y[chosen], beta=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"head width epoch {epoch}: loss {np.mean(losses):.4f}", flush=True)
    return [round(float(v), 4) for v in np.percentile(widths[widths > 0], [5, 95])]


def head_of(network: EdgeNetwork) -> HeadWidth:
    """The layers that estimate the width. Raises `ValueError` for a network without them."""
    if network.head_width is None:
        raise ValueError("this network has no head_width output")
    return network.head_width


def estimates(network: EdgeNetwork, sized: Sized) -> tuple[Tensor, Tensor]:
    """(estimated widths, true widths) of the pictures with people."""
    vectors, widths = sized
    there = widths > 0
    with torch.no_grad():
        return head_of(network)(fused_video(network, vectors[there]))[:, 0], widths[there]


def figures(estimated: Tensor, truth: Tensor) -> dict[str, Any]:
    """The factor by which half of the estimates, and nine tenths of them, are off at most."""
    factors = torch.exp(torch.log(estimated / truth).abs()).numpy()
    return {
        "pictures": len(truth),
        "off_by_half": round(float(np.quantile(factors, 0.5)), 3),
        "off_by_most": round(float(np.quantile(factors, 0.9)), 3),
    }


def measure(network: EdgeNetwork, cache: Path, trained: list[float]) -> dict[str, Any]:
    """Figures on the held-out clips, and on their middle frames shrunk into held-out empty places.

    `too_small` and `large_enough` count how many of the people that are clearly smaller than the trained range, and of
    those that clearly are not, are estimated as smaller than it.
    """
    record, widths = clips_and_widths("held", cache)
    nobody = np.array(record["people"]) == 0
    empty = [record["video"][row, 2] for row in np.flatnonzero(nobody & (np.array(record["relation"]) != DARK))]
    rows = np.flatnonzero(widths)
    frames = [record["video"][row, 2] for row in rows]
    estimated, truth = estimates(network, encode_shrunk(network, frames, widths[rows], empty, "held", 1))
    below = (estimated < trained[0]).numpy()
    small, large = (truth < trained[0] / MARGIN).numpy(), (truth > trained[0] * MARGIN).numpy()
    return {
        "clips": figures(*estimates(network, (encode_pictures(network, record), torch.from_numpy(widths)))),
        "shrunk": figures(estimated, truth),
        "too_small": {"told": int(below[small].sum()), "of": int(small.sum())},
        "large_enough": {"told": int(below[large].sum()), "of": int(large.sum())},
    }
