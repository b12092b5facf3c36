"""Pictures full of faces, made during training: they show the picture network many more faces a second than scenes do.

Each picture is a grid of cells over a background; most cells hold one face (photographic, joined, warped, unlabelled or
drawn), each with its own rotation, scale and light. The label is the majority, as in a scene.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ger.contract import NEUTRAL, VIDEO_MEAN, VIDEO_STD
from ger.edge.augment import colours
from ger.synthetic import photographs
from ger.synthetic.appearance import expression_at, random_appearance
from ger.synthetic.camera import SIZE
from ger.synthetic.canvas import surface
from ger.synthetic.person_drawing import draw_face, draw_hair_back, draw_hair_front

FULL, HALF_FACE = 128, 37.0
DRAWN = 2400
EMPTY_SHARE = 0.15
HEADS_MAX = 160


def drawn_heads(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Drawn heads of the training family, u8 RGBA [count, 128, 128, 4], and their feelings."""
    out = np.zeros((count, FULL, FULL, 4), np.uint8)
    rng = np.random.default_rng(seed)
    for i in range(count):
        canvas = surface(out[i]).getCanvas()
        canvas.translate(64, 63)
        canvas.scale(HALF_FACE - 2, HALF_FACE - 2)
        look = random_appearance(rng, "train", i % 3)
        draw_hair_back(canvas, look)
        draw_face(canvas, look, expression_at(look, float(rng.uniform(0, 20))))
        draw_hair_front(canvas, look)
    return out, np.arange(count) % 3


def smaller(pixels: np.ndarray) -> list[Tensor]:
    """RGBA u8 [N, 128, 128, 4] as u8 [N, 4, 64, 64] and [N, 4, 32, 32], averaged."""
    levels: list[list[Tensor]] = [[], []]
    for part in np.array_split(pixels, max(len(pixels) // 64, 1)):
        x = torch.from_numpy(part).permute(0, 3, 1, 2).float()
        levels[0].append(F.avg_pool2d(x, 2).byte())
        levels[1].append(F.avg_pool2d(x, 4).byte())
    return [torch.cat(level) for level in levels]


class Mosaics:
    """All training faces at 64 and 32 pixels, by feeling and kind, and the backgrounds."""

    def __init__(self, cache: Path, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        pool = photographs.load(cache, "train")
        # Half width, half height, centre row and softness of the masks' edges, pixels of 128.
        shapes = ((39, 53, 62, 0.15), (50, 58, 62, 0.2), (33, 45, 68, 0.2), (38, 51, 63, 0.08))
        ovals = [photographs.oval_mask(rx=rx, ry=ry, row=row, soft=soft) * 255 for rx, ry, row, soft in shapes]
        masks = np.stack(ovals).astype(np.uint8)
        alpha = masks[rng.integers(0, len(masks), len(pool.faces))]
        drawn, drawn_feeling = drawn_heads(DRAWN, seed)
        self.levels = smaller(np.concatenate([np.concatenate([pool.faces, alpha[..., None]], -1), drawn]))
        feeling = np.concatenate([pool.feeling, drawn_feeling])
        kind = np.concatenate([pool.kind, np.full(DRAWN, 4)])
        sdxl = np.concatenate([pool.sdxl, np.zeros(DRAWN, bool)])
        # raw, joined, warped, unlabelled, drawn; both generators equally often within a kind
        share = np.array([[0.3, 0.2, 0.27, 0, 0.23], [0.27, 0.08, 0.24, 0.18, 0.23], [0.25, 0.25, 0.27, 0, 0.23]])
        self.chances, self.of = [], []
        for f in range(3):
            own = np.flatnonzero(feeling == f)
            weight = share[f][kind[own]].copy()
            for k in range(5):
                for s in (False, True):
                    group = (kind[own] == k) & (sdxl[own] == s)
                    weight[group] *= (
                        (0.5 if k < 4 else 1.0) / max(group.sum(), 1)
                        if f != 2 or k == 4
                        else (0.35 if s else 0.65) / max(group.sum(), 1)
                    )
            self.of.append(own)
            self.chances.append(weight / weight.sum())
        self.places = torch.from_numpy(np.ascontiguousarray(pool.backgrounds.transpose(0, 3, 1, 2)))

    def place(self, rng: np.random.Generator) -> Tensor:
        """A part of a background or a plain colour, f32 [3, 192, 192], 0 to 255."""
        if rng.random() < 0.25:
            return torch.from_numpy(rng.uniform(0, 255, (3, 1, 1)).astype(np.float32)).expand(3, SIZE, SIZE) * 1.0
        shot = self.places[int(rng.integers(len(self.places)))]
        side = int(rng.integers(120, 336))
        y, x = int(rng.integers(0, 337 - side)), int(rng.integers(0, 449 - side))
        return F.interpolate(
            shot[None, :, y : y + side, x : x + side].float(), size=(SIZE, SIZE), mode="bilinear", align_corners=False
        )[0]

    def faces(
        self, rows: np.ndarray, width: float, stretch: float, cell: tuple[int, int], rng: np.random.Generator
    ) -> tuple[Tensor, np.ndarray]:
        """Faces f32 RGBA [n, 4, height, width of a cell], and of each (x, y) of its centre in the cell and (half
        width, half height), px.
        """
        n, (high, wide) = len(rows), cell
        level = self.levels[0 if width > 20 else 1][torch.from_numpy(rows)].float()
        k = width / (2 * HALF_FACE) * np.exp(rng.normal(0, 0.08, n))
        kx, ky = k, k * stretch * np.exp(rng.normal(0, 0.06, n))
        angle = np.where(rng.random(n) < 0.25, rng.uniform(-0.78, 0.78, n), rng.normal(0, 0.12, n))
        x, y = wide / 2 + rng.normal(0, 0.06 * wide, n), high / 2 + rng.normal(0, 0.04 * high, n)
        flip = np.where(rng.random(n) < 0.5, -1.0, 1.0)
        u = (np.arange(wide) + 0.5)[None, None, :] - x[:, None, None]
        v = (np.arange(high) + 0.5)[None, :, None] - y[:, None, None]
        c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        gx = flip[:, None, None] * (u / kx[:, None, None] * c + v / ky[:, None, None] * s) / 64
        gy = (-u / kx[:, None, None] * s + v / ky[:, None, None] * c) / 64
        grid = torch.from_numpy(np.stack(np.broadcast_arrays(gx, gy), -1).astype(np.float32))
        out = F.grid_sample(level, grid, align_corners=False)
        tone = np.exp(rng.normal(0, 0.2, (n, 1)) + rng.normal(0, 0.07, (n, 3)))
        contrast = np.exp(rng.normal(0, 0.15, (n, 1, 1, 1)))
        rgb = ((out[:, :3] - 112) * torch.from_numpy(contrast).float() + 112) * torch.from_numpy(tone).float()[
            :, :, None, None
        ]
        return torch.cat([rgb, out[:, 3:]], 1), np.stack([x, y, kx * HALF_FACE, ky * HALF_FACE * 1.3], 1)

    def picture(self, label: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray, int]:
        """A picture f32 [3, 192, 192], 0 to 255, its heads f32 [HEADS_MAX, 5], and its majority."""
        width, stretch = (
            float(np.exp(rng.uniform(np.log(10), np.log(46)))),
            float(rng.choice([1.0, 1.33, 1.78], p=[0.3, 0.2, 0.5])),
        )
        wide = min(int(width * rng.uniform(1.05, 1.5)) + 2, SIZE)
        high = min(int(1.4 * width * stretch * rng.uniform(1.0, 1.3)) + 2, SIZE)
        columns, rows = SIZE // wide, SIZE // high
        count = columns * rows
        feelings = np.where(rng.random(count) < 0.65, label, rng.integers(0, 3, count))
        there = rng.random(count) >= EMPTY_SHARE
        if np.bincount(feelings[there], minlength=3).argmax() != label:
            feelings[:] = label
        chosen = np.array([self.of[f][rng.choice(len(self.of[f]), p=self.chances[f])] for f in feelings])
        faces, spots = self.faces(chosen, width, stretch, (high, wide), rng)
        faces[~torch.from_numpy(there), 3] = 0
        sheet = (
            faces.reshape(rows, columns, 4, high, wide).permute(2, 0, 3, 1, 4).reshape(4, rows * high, columns * wide)
        )
        dy, dx = int(rng.integers(0, SIZE - rows * high + 1)), int(rng.integers(0, SIZE - columns * wide + 1))
        picture = self.place(rng)
        part = picture[:, dy : dy + rows * high, dx : dx + columns * wide]
        alpha = sheet[3:] / 255
        part.copy_(part * (1 - alpha) + sheet[:3] * alpha)
        heads, count_there = np.full((HEADS_MAX, 5), -1, np.float32), 0
        for i in np.flatnonzero(there)[:HEADS_MAX]:
            x, y = dx + (i % columns) * wide + spots[i, 0], dy + (i // columns) * high + spots[i, 1]
            heads[count_there] = x / SIZE, y / SIZE, spots[i, 2] / SIZE, spots[i, 3] / SIZE, feelings[i]
            count_there += 1
        return picture, heads, label if count_there else NEUTRAL

    def batch(self, count: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray, Tensor]:
        """(normalised pictures f32 [count, 3, 192, 192], heads f32 [count, HEADS_MAX, 5], labels)."""
        made = [self.picture(int(rng.integers(3)), rng) for _ in range(count)]
        mean, std = (torch.tensor(v)[:, None, None] for v in (VIDEO_MEAN, VIDEO_STD))
        x = (torch.stack([m[0] for m in made]).clamp(0, 255) / 255 - mean) / std
        return colours(x, rng), np.stack([m[1] for m in made]), torch.tensor([m[2] for m in made])
