"""How large people appear: the last stage of the edge network's training, and its figures.

The median width of the heads of a picture, as a share of the picture's width, is learnt on frozen vectors of frames: of the frames and
clips that the network was trained on, and of those frames shrunk into empty places, so that it is told, too, when people are smaller
than any that the network learnt to read. The contract says from where to where it did: the middle 90 % of the training's frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ger.edge import training_sets
from ger.edge import figures as edge_figures
from ger.edge.network import EdgeNetwork
from ger.synthetic.scenes import SIZE

SMALLEST = {"train": 0.3, "held": 0.2}  # by how much frames are shrunk at the most
DARK = training_sets.FATES.index("dark")

Sized = tuple[Tensor, Tensor]  # vectors of frames [N, T, dim], and the median width of heads [N], 0 of nobody


def median_widths(heads: np.ndarray) -> np.ndarray:
    """Heads f32 [N, 32, 5], padded with -1, to median widths [N]; 0 where there are none."""
    widths = [2 * row[row[:, 4] >= 0, 2] for row in heads]
    return np.array([np.median(it) if len(it) else 0.0 for it in widths], np.float32)


def shrunk(frame: np.ndarray, empty: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """The frame at this scale somewhere in a picture of nobody; both u8 [SIZE, SIZE, 3]."""
    side = round(SIZE * scale)
    x, y = (int(v) for v in rng.integers(0, SIZE - side + 1, 2))
    picture = Image.fromarray(empty)
    picture.paste(Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC), (x, y))
    return np.asarray(picture)


def look_shrunk(network: EdgeNetwork, frames: list[np.ndarray], widths: np.ndarray, empty: list[np.ndarray], side: str, seed: int) -> Sized:
    """Each frame once, at a scale of its own; evenly by the scale's logarithm."""
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.uniform(np.log(SMALLEST[side]), 0.0, len(frames)))
    vectors = []
    for i in range(0, len(frames), 16):
        chosen = rng.integers(0, len(empty), 16)
        pictures = [shrunk(f, empty[e], s, rng) for f, e, s in zip(frames[i : i + 16], chosen, scales[i : i + 16])]
        vectors.append(edge_figures.see(network, np.stack(pictures)[:, None]))
    return torch.cat(vectors), torch.from_numpy((widths * scales).astype(np.float32))


def seen(network: EdgeNetwork, vectors: Tensor) -> Tensor:
    """The frames' vectors as the fusion has them, averaged over time: [N, 1, dim]."""
    with torch.no_grad():
        return network.fusion.seen(vectors, torch.ones(len(vectors), 2)).mean(1, keepdim=True)


def of_clips(name: str, cache: Path) -> tuple[training_sets.Record, np.ndarray]:
    """A set of clips, and its widths; dark clips count as nobody's."""
    kept = training_sets.load(name, cache)
    return kept, np.where(np.array(kept["fate"]) == DARK, 0.0, np.array(kept["face"]) / SIZE).astype(np.float32)


def learn(network: EdgeNetwork, cache: Path, epochs: int, seed: int) -> list[float]:
    """Trains `network.head_width`, and nothing else. Returns the trained range: the middle 90 % of the widths in single frames."""
    assert network.head_width is not None
    network.eval()
    sets = [training_sets.load(name, cache) for name in ("pictures", "few")]
    widths = [median_widths(kept["heads"][:, 0]) for kept in sets]
    empty = [kept["video"][row, 0] for kept, own in zip(sets, widths) for row in np.flatnonzero(own == 0)]
    rows = np.flatnonzero(widths[0])
    clips, of_clip = of_clips("clips", cache)
    sized = [(edge_figures.look(network, kept), torch.from_numpy(own)) for kept, own in [*zip(sets, widths), (clips, of_clip)]]
    sized.append(look_shrunk(network, [sets[0]["video"][row, 0] for row in rows], widths[0][rows], empty, "train", seed))
    x, y = torch.cat([seen(network, vectors) for vectors, _ in sized]), torch.cat([own for _, own in sized])
    x, y = x[y > 0], torch.log(y[y > 0])
    size, rate = min(64, len(y)), 2e-3
    optimiser = torch.optim.AdamW(network.head_width.parameters(), lr=rate, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * (len(y) // size))
    rng = np.random.default_rng([seed, 6])
    for epoch in range(epochs):
        losses = []
        for start in range(0, len(y) - size + 1, size):
            order = rng.permutation(len(y)) if start == 0 else order
            chosen = torch.from_numpy(order[start : start + size])
            loss = F.smooth_l1_loss(network.head_width.logarithm(x[chosen])[:, 0], y[chosen], beta=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            plan.step()
            losses.append(loss.item())
        print(f"head width epoch {epoch}: loss {np.mean(losses):.4f}", flush=True)
    there = np.concatenate(widths)
    return [round(float(v), 4) for v in np.percentile(there[there > 0], [5, 95])]


def off_by(network: EdgeNetwork, sized: Sized) -> tuple[Tensor, Tensor]:
    """(what it says, the truth), where there is somebody."""
    assert network.head_width is not None
    there = sized[1] > 0
    with torch.no_grad():
        return network.head_width(seen(network, sized[0][there]))[:, 0], sized[1][there]


def figures(said: Tensor, truth: Tensor) -> dict[str, object]:
    """By which factor half and nine tenths of the answers are off at the most."""
    factors = torch.exp(torch.log(said / truth).abs()).numpy()
    return {"pictures": len(truth), "off_by_half": round(float(np.quantile(factors, 0.5)), 3), "off_by_most": round(float(np.quantile(factors, 0.9)), 3)}


def measure(network: EdgeNetwork, cache: Path, trained: list[float]) -> dict[str, object]:
    """On the held-out clips, and on their middle frames shrunk into held-out empty places; and how often people that are clearly
    smaller (by a fifth) than the trained range are told to be, and such as are clearly not."""
    kept, widths = of_clips("held", cache)
    nobody = np.array(kept["people"]) == 0
    empty = [kept["video"][row, 2] for row in np.flatnonzero(nobody & (np.array(kept["fate"]) != DARK))]
    rows = np.flatnonzero(widths)
    near, far = trained[0] * 1.2, trained[0] / 1.2
    said, truth = off_by(network, look_shrunk(network, [kept["video"][row, 2] for row in rows], widths[rows], empty, "held", 1))
    told = (said < trained[0]).numpy()
    small, large = (truth < far).numpy(), (truth > near).numpy()
    return {"clips": figures(*off_by(network, (edge_figures.look(network, kept), torch.from_numpy(widths)))), "shrunk": figures(said, truth),
            "too_small": {"told": int(told[small].sum()), "of": int(small.sum())}, "large_enough": {"told": int(told[large].sum()), "of": int(large.sum())}}
