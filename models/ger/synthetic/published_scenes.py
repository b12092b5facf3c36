"""The synthetic clips of system 1's paper (Augusma et al. 2023) as their authors publish them, for comparison and
for training.

A background of 326x326; 3 to 15 face cut-outs of one class, the same for all frames; each frame redraws, for every
face, its scale U(0.10, 0.15) of 350 pixels, a rotation within 45 degrees with probability 0.5, and a place inside a
margin of 30 pixels plus 1 pixel per frame, such that no face overlaps another by more than 0.001 of its area, in 80
tries. So nothing moves smoothly: faces jump from frame to frame. A face for which no place is found in 80 tries is left
out of that frame (ours: what the authors do then is not published).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

SIDE = 326  # pixels of the background
UNIT = 350  # pixels that a face's scale refers to
SCALES = (0.10, 0.15)
TURN = 45.0  # degrees
FACES = (3, 15)
MARGIN = 30
TRIES = 80
OVERLAP = 0.001

Box = tuple[int, int, int, int]


def overlap(a: Box, b: Box) -> int:
    """Shared area of two boxes (left, top, right, bottom), in pixels."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def place(width: int, height: int, margin: int, taken: list[Box], rng: np.random.Generator) -> Box | None:
    """A free box of the given size inside the margin, or None after 80 tries."""
    right, bottom = SIDE - margin - width, SIDE - margin - height
    if right < margin or bottom < margin:
        return None
    for _ in range(TRIES):
        x, y = int(rng.integers(margin, right + 1)), int(rng.integers(margin, bottom + 1))
        box = (x, y, x + width, y + height)
        if all(overlap(box, other) <= OVERLAP * width * height for other in taken):
            return box
    return None


def frames(cut_outs: list[Image.Image], background: Image.Image, count: int, seed: int) -> Iterator[np.ndarray]:
    """`count` frames u8 RGB [326, 326, 3] of 3 to 15 RGBA cut-outs, all of one class, before a background of any size.

    Raises ValueError for fewer than 3 or more than 15 faces.
    """
    if not FACES[0] <= len(cut_outs) <= FACES[1]:
        raise ValueError(f"{len(cut_outs)} faces: a published scene has {FACES[0]} to {FACES[1]}")
    rng = np.random.default_rng(seed)
    empty = background.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    for number in range(count):
        picture = empty.copy()
        taken: list[Box] = []
        for face in cut_outs:
            width = round(float(rng.uniform(*SCALES)) * UNIT)
            small = face.convert("RGBA").resize(
                (width, max(round(width * face.height / face.width), 1)), Image.Resampling.BICUBIC
            )
            if rng.random() < 0.5:
                small = small.rotate(float(rng.uniform(-TURN, TURN)), Image.Resampling.BICUBIC, expand=True)
            box = place(small.width, small.height, MARGIN + number, taken, rng)
            if box is not None:
                picture.paste(small, box[:2], small)
                taken.append(box)
        yield np.asarray(picture)
