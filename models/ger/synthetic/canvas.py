"""Paint, colours and surfaces of skia that all drawings share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import skia

Colour = tuple[int, int, int]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # weights of R, G, B, ITU-R BT.601


def surface(pixels: np.ndarray) -> skia.Surface:
    """A skia surface over an RGBA array."""
    info = skia.ImageInfo.Make(pixels.shape[1], pixels.shape[0], skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType)
    return skia.Surface.MakeRasterDirect(info, pixels)


def rgb(values: Iterable[float]) -> Colour:
    """Three values as whole levels, cut towards zero."""
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def tint(colour: Colour, gain: float, alpha: int = 255) -> int:
    """The colour times a gain, as skia's ARGB integer."""
    r, g, b = (max(0, min(255, int(c * gain))) for c in colour)
    return skia.Color(r, g, b, alpha)


def fill(colour: int) -> skia.Paint:
    return skia.Paint(AntiAlias=True, Color=colour)


def stroke(colour: int, width: float) -> skia.Paint:
    return skia.Paint(
        AntiAlias=True,
        Color=colour,
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=width,
        StrokeCap=skia.Paint.kRound_Cap,
        StrokeJoin=skia.Paint.kRound_Join,
    )


def oval(x: float, y: float, rx: float, ry: float) -> skia.Rect:
    return skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry)
