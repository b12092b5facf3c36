"""Drawn backgrounds: places by kind. Training and held-out clips use different kinds."""

from __future__ import annotations

import numpy as np
import skia

from ger.synthetic.canvas import fill, rgb, stroke, tint

TRAIN = ["room", "stage", "park", "street", "blobs", "plain"]
HELD = ["cafe", "beach", "hall"]


def colour(rng: np.random.Generator, low: int = 40, high: int = 220) -> tuple[int, int, int]:
    """A random colour, more often dull than bright."""
    grey = rng.uniform(low, high)
    return rgb(np.clip(grey + rng.normal(0, 26, 3), 0, 255))


def gradient(canvas: skia.Canvas, rect: skia.Rect, top: tuple[int, int, int], bottom: tuple[int, int, int]) -> None:
    paint = skia.Paint(AntiAlias=True)
    ends = [skia.Point(rect.left(), rect.top()), skia.Point(rect.left(), rect.bottom())]
    paint.setShader(skia.GradientShader.MakeLinear(ends, [tint(top, 1.0), tint(bottom, 1.0)]))
    canvas.drawRect(rect, paint)


def wall_and_floor(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> float:
    horizon = h * rng.uniform(0.55, 0.8)
    wall = colour(rng)
    gradient(canvas, skia.Rect.MakeLTRB(0, 0, w, horizon), wall, colour(rng))
    gradient(canvas, skia.Rect.MakeLTRB(0, horizon, w, h), colour(rng, 40, 150), colour(rng, 30, 120))
    return horizon


def boxes(canvas: skia.Canvas, rng: np.random.Generator, count: int, area: tuple[float, float, float, float]) -> None:
    """Rectangles such as windows, doors, pictures or shelves inside an area."""
    x0, y0, x1, y1 = area
    for _ in range(count):
        w, h = rng.uniform(0.06, 0.22) * (x1 - x0), rng.uniform(0.2, 0.7) * (y1 - y0)
        x, y = rng.uniform(x0, x1 - w), rng.uniform(y0, y1 - h)
        rect = skia.Rect.MakeXYWH(x, y, w, h)
        gradient(canvas, rect, colour(rng), colour(rng))
        canvas.drawRect(rect, stroke(tint(colour(rng, 30, 240), 1.0), rng.uniform(1, 6)))


def room(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    horizon = wall_and_floor(canvas, rng, w, h)
    boxes(canvas, rng, int(rng.integers(1, 6)), (0, 0.05 * h, w, horizon * 0.95))
    canvas.drawLine(0, horizon, w, horizon, stroke(tint(colour(rng), 1.0), 4))


def stage(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    gradient(canvas, skia.Rect.MakeWH(w, h), colour(rng, 15, 80), colour(rng, 20, 120))
    for _ in range(int(rng.integers(3, 8))):
        x, spread = rng.uniform(0, w), rng.uniform(40, 140)
        beam = skia.Path()
        beam.addPoly([skia.Point(x, -10), skia.Point(x - spread, h), skia.Point(x + spread, h)], True)
        canvas.drawPath(beam, fill(tint(colour(rng, 120, 255), 1.0, int(rng.integers(20, 70)))))


def park(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    horizon = h * rng.uniform(0.4, 0.65)
    gradient(canvas, skia.Rect.MakeLTRB(0, 0, w, horizon), (120, 170, 225), (205, 222, 235))
    gradient(canvas, skia.Rect.MakeLTRB(0, horizon, w, h), (96, 140, 70), (60, 100, 50))
    for _ in range(int(rng.integers(3, 9))):
        x, s = rng.uniform(0, w), rng.uniform(25, 80)
        canvas.drawRect(skia.Rect.MakeXYWH(x - s * 0.1, horizon - s, s * 0.2, s * 1.2), fill(tint((92, 66, 44), 1.0)))
        for dx, dy in rng.normal(0, s * 0.35, (4, 2)):
            canvas.drawCircle(x + dx, horizon - s * 1.3 + dy, s * 0.6, fill(tint((60, 115, 55), rng.uniform(0.7, 1.2))))


def street(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    gradient(canvas, skia.Rect.MakeWH(w, h), (170, 190, 210), (110, 110, 115))
    x = 0.0
    while x < w:
        bw, bh = rng.uniform(60, 170), rng.uniform(0.35, 0.75) * h
        base = colour(rng, 70, 190)
        canvas.drawRect(skia.Rect.MakeXYWH(x, h * 0.75 - bh, bw, bh), fill(tint(base, 1.0)))
        for wy in np.arange(h * 0.78 - bh, h * 0.68, 32):
            for wx in np.arange(x + 8, x + bw - 16, 26):
                canvas.drawRect(skia.Rect.MakeXYWH(wx, wy, 14, 18), fill(tint(base, float(rng.choice([0.6, 1.4])))))
        x += bw


def blobs(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    gradient(canvas, skia.Rect.MakeWH(w, h), colour(rng, 20, 220), colour(rng, 20, 220))
    for _ in range(int(rng.integers(8, 40))):
        paint = fill(tint(colour(rng, 20, 250), 1.0, int(rng.integers(60, 255))))
        canvas.drawOval(
            skia.Rect.MakeXYWH(rng.uniform(-50, w), rng.uniform(-50, h), rng.uniform(10, 140), rng.uniform(10, 140)),
            paint,
        )


def plain(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    gradient(canvas, skia.Rect.MakeWH(w, h), colour(rng, 10, 250), colour(rng, 10, 250))


def cafe(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    gradient(canvas, skia.Rect.MakeWH(w, h), (112, 82, 62), (74, 52, 42))
    for y in np.linspace(0.1, 0.5, 3) * h:
        canvas.drawRect(skia.Rect.MakeXYWH(0, y + 30, w, 6), fill(tint((60, 40, 28), 1.0)))
        for x in np.arange(10, w, rng.uniform(16, 30)):
            canvas.drawRect(skia.Rect.MakeXYWH(x, y, 10, 30), fill(tint(colour(rng, 60, 230), 1.0)))
    for x in rng.uniform(0, w, 4):
        canvas.drawCircle(x, 24, 60, fill(skia.Color(255, 226, 160, 50)))
        canvas.drawCircle(x, 24, 12, fill(skia.Color(255, 236, 190, 255)))


def beach(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    horizon = h * rng.uniform(0.3, 0.5)
    gradient(canvas, skia.Rect.MakeLTRB(0, 0, w, horizon), (110, 180, 235), (240, 225, 205))
    gradient(canvas, skia.Rect.MakeLTRB(0, horizon, w, h * 0.75), (40, 120, 160), (110, 190, 200))
    gradient(canvas, skia.Rect.MakeLTRB(0, h * 0.72, w, h), (226, 200, 150), (200, 170, 120))


def hall(canvas: skia.Canvas, rng: np.random.Generator, w: int, h: int) -> None:
    gradient(canvas, skia.Rect.MakeWH(w, h), (205, 205, 200), (150, 150, 148))
    step = rng.uniform(30, 60)
    for x in np.arange(0, w, step):
        canvas.drawLine(x, 0, x, h, stroke(tint((120, 120, 118), 1.0), 2))
    for y in np.arange(0, h, step):
        canvas.drawLine(0, y, w, y, stroke(tint((120, 120, 118), 1.0), 2))
    boxes(canvas, rng, 3, (0, 0, w, h * 0.6))


def draw(canvas: skia.Canvas, rng: np.random.Generator, kind: str, w: int, h: int) -> None:
    """Draws the background named by `kind`."""
    kinds = {
        "room": room,
        "stage": stage,
        "park": park,
        "street": street,
        "blobs": blobs,
        "plain": plain,
        "cafe": cafe,
        "beach": beach,
        "hall": hall,
    }
    kinds[kind](canvas, rng, w, h)
