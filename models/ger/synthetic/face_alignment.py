"""Finds eyes and mouth in the synthetic portraits, and aligns the faces.

Every face is upright in a 128x128 picture, with both eyes on fixed points, so that cutting out and warping need no
detector later. Needs OpenCV 4 and its Haar cascades.
"""

from __future__ import annotations

import csv
import multiprocessing
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 128
EYE_ROW, EYE_GAP = 56.0, 34.0  # canonical eyes: 34 pixels apart, on row 56, around column 64
Box = tuple[float, float, float, float]


class Detector:
    """Haar cascades for frontal faces and eyes."""

    def __init__(self) -> None:
        import cv2  # noqa: PLC0415  # installed for this step alone

        folder = Path(cv2.data.haarcascades)
        self.cv2 = cv2
        self.faces = [
            cv2.CascadeClassifier(str(folder / f"haarcascade_frontalface_{n}.xml")) for n in ("alt2", "alt", "default")
        ]
        self.eyes = [
            cv2.CascadeClassifier(str(folder / f"haarcascade_{n}.xml")) for n in ("eye_tree_eyeglasses", "eye")
        ]

    def face(self, grey: np.ndarray) -> Box | None:
        """The largest face (x, y, width, height), from strict to lax settings."""
        for neighbours in (4, 2, 1):
            for cascade in self.faces:
                found = cascade.detectMultiScale(grey, 1.08, neighbours, minSize=(52, 52))
                if len(found):
                    x, y, width, height = (float(v) for v in max(found, key=lambda box: box[2]))
                    return x, y, width, height
        return None

    def pair(self, grey: np.ndarray, box: Box) -> np.ndarray:
        """Both eyes' centres [2, 2], left first; where the box has them on average when they are not found."""
        x, y, w, h = box
        usual = np.array([[x + 0.31 * w, y + 0.385 * h], [x + 0.69 * w, y + 0.385 * h]])
        top = grey[int(y + 0.18 * h) : int(y + 0.58 * h), int(x) : int(x + w)]
        big = self.cv2.resize(top, None, fx=3, fy=3, interpolation=self.cv2.INTER_CUBIC)
        for cascade in self.eyes:
            spots = [
                (x + (ex + ew / 2) / 3, int(y + 0.18 * h) + (ey + eh / 2) / 3)
                for ex, ey, ew, eh in cascade.detectMultiScale(big, 1.05, 3, minSize=(int(0.4 * w), int(0.4 * w)))
            ]
            near = [min(spots, key=lambda s: np.hypot(*(np.array(s) - u)), default=None) for u in usual]
            if all(n is not None and np.hypot(*(np.array(n) - u)) < 0.13 * w for n, u in zip(near, usual, strict=True)):
                return np.array(near)
        return usual


def upright(image: Image.Image, eyes: np.ndarray) -> np.ndarray:
    """The picture turned, moved and scaled so that the eyes lie on the canonical points, u8 [128, 128, 3]."""
    (x0, y0), (x1, y1) = eyes
    scale, angle = np.hypot(x1 - x0, y1 - y0) / EYE_GAP, np.arctan2(y1 - y0, x1 - x0)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2
    affine = (c, -s, mx - c * SIDE / 2 + s * EYE_ROW, s, c, my - s * SIDE / 2 - c * EYE_ROW)
    factor = max(1.0, scale)  # shrink softly first, for the affine map does not average
    small = image.resize((int(image.width / factor), int(image.height / factor)), Image.Resampling.LANCZOS)
    values = tuple(v / factor for v in affine)
    return np.asarray(small.transform((SIDE, SIDE), Image.Transform.AFFINE, values, Image.Resampling.BICUBIC))


def inside(image: Image.Image, eyes: np.ndarray) -> bool:
    """Whether the head, not only the eyes, lies within the picture."""
    (x0, y0), (x1, y1) = eyes
    gap, mx, my = np.hypot(x1 - x0, y1 - y0), (x0 + x1) / 2, (y0 + y1) / 2
    return mx - 1.25 * gap > 0 and mx + 1.25 * gap < image.width and my + 1.85 * gap < image.height and gap > 21


@lru_cache(maxsize=1)
def detector() -> Detector:
    return Detector()


def find(path: Path) -> np.ndarray | None:
    """The upright face of a portrait, or None where none is found whole."""
    image = Image.open(path).convert("RGB")
    grey = detector().cv2.equalizeHist(np.asarray(image.convert("L")))
    box = detector().face(grey)
    if box is None:
        return None
    eyes = detector().pair(grey, box)
    return upright(image, eyes) if inside(image, eyes) else None


def prepare(media: Path, cache: Path) -> None:
    folder = media / "train" / "faces"
    with (folder / "labels.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    with multiprocessing.Pool(2) as pool:
        found = pool.map(find, [folder / row["file"] for row in rows], chunksize=8)
    whole = [
        (row["file"], row["generator"], row["label"], pixels)
        for row, pixels in zip(rows, found, strict=True)
        if pixels is not None
    ]
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(
        cache / "faces.npz",
        name=[k[0] for k in whole],
        generator=[k[1] for k in whole],
        label=[k[2] for k in whole],
        pixels=np.stack([k[3] for k in whole]),
    )
    print(f"{len(whole)} of {len(rows)} portraits have a face that was found whole")
