"""Warps an upright face (eyes on canonical points, see `ger.find_faces`) into an expression: smooth displacements of
mouth corners, brows, lids and jaw, with a mouth's inside where the lips part. In place of expressions that the
portraits lack.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates

from ger.contract import NEGATIVE, POSITIVE
from ger.synthetic.canvas import LUMA

Y, X = np.mgrid[0:128, 0:128].astype(np.float32)
EYES, MIDDLE = 56.0, 64.0
Push = tuple[float, float, float, float, float]  # x, y, dx, dy, sigma in pixels of 128


def lip_row(face: np.ndarray) -> float:
    """The row of the closed lips: the darkest row against its neighbours where a mouth can be."""
    rows = (face[:, 52:77] @ LUMA).mean(1)
    dark = gaussian_filter1d(rows, 1.2) - gaussian_filter1d(rows, 7)
    usual = np.abs(np.arange(128) - 93) * 0.25  # a weak prior for the average row
    return float(84 + np.argmin((dark + usual)[84:104]))


def displace(face: np.ndarray, pushes: list[Push]) -> np.ndarray:
    """Moves the surroundings of each (x, y) by (dx, dy), with Gaussian weights."""
    dx, dy = np.zeros_like(X), np.zeros_like(Y)
    for x, y, px, py, sigma in pushes:
        weight = np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * sigma**2))
        dx += px * weight
        dy += py * weight
    return np.stack([map_coordinates(face[..., c], [Y - dy, X - dx], order=1, mode="nearest") for c in range(3)], -1)


def open_mouth(face: np.ndarray, row: float, gap: float, half: float, teeth: float, bend: float) -> np.ndarray:
    """Parts the lips by `gap` pixels: the jaw goes down, and the mouth's inside shows, teeth at its top."""
    across = np.clip(1 - ((X - MIDDLE) / half) ** 2, 0, 1)
    top = row - bend * (np.abs(X - MIDDLE) / half) ** 2 * 4
    drop = (
        gap
        * np.exp(-(((X - MIDDLE) / (half * 1.5)) ** 2))
        * np.clip((Y - top) / max(gap, 1), 0, 1)
        * np.exp(-np.clip(Y - 118, 0, None) / 8)
    )
    out = np.stack([map_coordinates(face[..., c], [Y - drop, X], order=1, mode="nearest") for c in range(3)], -1)
    depth = (Y - top) / np.maximum(gap * across**0.5, 0.5)
    inside = np.clip(4 * depth, 0, 1) * np.clip(4 * (1 - depth), 0, 1) * (across > 0.02)
    skin = face[70:84, 50:78].mean((0, 1))
    dark = skin * np.array([0.34, 0.2, 0.2], np.float32)
    white = np.clip(skin.mean() * np.array([1.5, 1.45, 1.35], np.float32), 0, 245)
    tooth = np.clip((0.48 - depth) * 6, 0, 1)[..., None] * teeth
    return out * (1 - inside[..., None]) + (dark * (1 - tooth) + white * tooth) * inside[..., None]


def line(face: np.ndarray, x0: float, y0: float, x1: float, y1: float, dark: float, width: float = 1.2) -> np.ndarray:
    """A soft crease from one point to another."""
    length = max(np.hypot(x1 - x0, y1 - y0), 1e-3)
    along = np.clip(((X - x0) * (x1 - x0) + (Y - y0) * (y1 - y0)) / length**2, 0, 1)
    away = (X - x0 - along * (x1 - x0)) ** 2 + (Y - y0 - along * (y1 - y0)) ** 2
    return face * (1 - dark * np.exp(-away / (2 * width**2)))[..., None]


def smile(face: np.ndarray, row: float, s: float, rng: np.random.Generator) -> np.ndarray:
    w = rng.uniform(12, 16)
    pushes: list[Push] = [(MIDDLE, row + 2, 0, 2.0 * s, 8)]
    for side in (-1, 1):
        pushes += [
            (MIDDLE + side * w, row, side * 5 * s, -7 * s, 7.5),
            (MIDDLE + side * 21, row - 17, side * 1.5, -3.5 * s, 9),
            (MIDDLE + side * 17, EYES + 6, 0, -2.4 * s, 6),
        ]
    out = displace(face, pushes)
    for side in (-1, 1):
        out = line(out, MIDDLE + side * 12, row - 18, MIDDLE + side * (w + 8), row - 3, 0.3 * s)
    if rng.random() < 0.65:
        out = open_mouth(out, row - 1, rng.uniform(5, 15) * s, w + 4 * s, 1.0, 1.3 * s)
    return out


def anger(face: np.ndarray, row: float, s: float, rng: np.random.Generator) -> np.ndarray:
    pushes: list[Push] = [(MIDDLE, row - 12, 0, -1.5 * s, 7)]
    for side in (-1, 1):
        pushes += [
            (MIDDLE + side * 9, 44, -side * 3 * s, 6.5 * s, 6),
            (MIDDLE + side * 26, 43, 0, -2.5 * s, 6),
            (MIDDLE + side * 13, row, -side * 1.0 * s, 4.5 * s, 7),
            (MIDDLE + side * 17, EYES + 6, 0, -2.0 * s, 5),
        ]
    out = displace(face, pushes)
    for side in (-1, 1):
        out = line(out, MIDDLE + side * 3, 40, MIDDLE + side * 3.5, 50, 0.4 * s)
    if rng.random() < 0.5:
        out = open_mouth(out, row, rng.uniform(7, 20) * s, rng.uniform(9, 13), float(rng.random() < 0.6), -0.8 * s)
    return out


def sorrow(face: np.ndarray, row: float, s: float, rng: np.random.Generator) -> np.ndarray:
    pushes: list[Push] = [(MIDDLE, row + 2, 0, -2.5 * s, 6)]
    for side in (-1, 1):
        pushes += [
            (MIDDLE + side * 9, 44, -side * 1.5 * s, -5.5 * s, 6),
            (MIDDLE + side * 27, 46, 0, 3.0 * s, 7),
            (MIDDLE + side * 14, row, 0, 6.5 * s, 7),
            (MIDDLE + side * 17, EYES - 5, 0, 3.2 * s, 5),
        ]
    out = displace(face, pushes)
    for side in (-1, 1):
        out = line(out, MIDDLE + side * 16, row + 1, MIDDLE + side * 19, row + 9, 0.28 * s)
    for y in (30, 35):
        out = line(out, MIDDLE - 10, y, MIDDLE + 10, y, 0.2 * s)
    if rng.random() < 0.35:
        out = open_mouth(out, row, rng.uniform(4, 12) * s, rng.uniform(9, 13), 0.3, -1.0 * s)
    return out


def indifferent(face: np.ndarray, row: float, s: float, rng: np.random.Generator) -> np.ndarray:
    """Another shape of the face, lips parted as in talk, or a blink: no expression of a feeling."""
    pushes: list[Push] = [
        (float(x), float(y), float(dx), float(dy), 22.0)
        for x, y, dx, dy in zip(
            rng.uniform(30, 98, 3),
            rng.uniform(30, 110, 3),
            rng.normal(0, 3 * s, 3),
            rng.normal(0, 3 * s, 3),
            strict=True,
        )
    ]
    if rng.random() < 0.2:
        pushes += [(MIDDLE + side * 17, EYES - 4, 0, 4.0, 4.5) for side in (-1, 1)]
    out = displace(face, pushes)
    if rng.random() < 0.4:
        out = open_mouth(out, row, rng.uniform(2.5, 8), rng.uniform(8, 11), float(rng.random() < 0.4), 0.0)
    return out


def random_warp(face: np.ndarray, row: float, goal: int, rng: np.random.Generator) -> np.ndarray:
    """The face f32 [128, 128, 3] warped into a class, with a random strength."""
    strength = float(rng.uniform(0.7, 1.25))
    if goal == POSITIVE:
        return smile(face, row, strength, rng)
    if goal == NEGATIVE:
        return (anger if rng.random() < 0.55 else sorrow)(face, row, strength, rng)
    return indifferent(face, row, strength, rng)
