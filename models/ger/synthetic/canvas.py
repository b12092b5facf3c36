"""Paint, colours and surfaces of skia that all drawings share."""

from __future__ import annotations

import numpy as np
import skia

Colour = tuple[int, int, int]


def surface(pixels: np.ndarray) -> skia.Surface:
    """A skia surface over an RGBA array."""
    info = skia.ImageInfo.Make(pixels.shape[1], pixels.shape[0], skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType)
    return skia.Surface.MakeRasterDirect(info, pixels)


def tint(colour: Colour, gain: float, alpha: int = 255) -> int:
    """The colour times a gain, as skia's ARGB integer."""
    r, g, b = (max(0, min(255, int(c * gain))) for c in colour)
    return skia.Color(r, g, b, alpha)


def fill(colour: int) -> skia.Paint:
    return skia.Paint(AntiAlias=True, Color=colour)


def stroke(colour: int, width: float) -> skia.Paint:
    return skia.Paint(AntiAlias=True, Color=colour, Style=skia.Paint.kStroke_Style, StrokeWidth=width,
                      StrokeCap=skia.Paint.kRound_Cap, StrokeJoin=skia.Paint.kRound_Join)


def oval(x: float, y: float, rx: float, ry: float) -> skia.Rect:
    return skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry)
