"""Draws an `Appearance` with its `Expression` on a skia canvas whose origin is the head's centre."""

from __future__ import annotations

import math

import skia

from ger.synthetic.appearance import Appearance, Expression, expression_at, head_path
from ger.synthetic.canvas import fill, oval, stroke, tint

WHITE = (250, 248, 244)
DARK = (38, 26, 26)


def curve(points: list[tuple[float, float]]) -> skia.Path:
    """A path through a start, a control point and an end."""
    path = skia.Path()
    path.moveTo(*points[0])
    path.quadTo(*points[1], *points[2])
    return path


def shaded(look: Appearance, colour: tuple[int, int, int], x: float, y: float, radius: float) -> skia.Paint:
    """Fill paint: a soft radial light for the soft style, plain colour else."""
    paint = fill(tint(colour, 1.0))
    if look.shade == "soft":
        centre = skia.Point(x + look.light * 0.5, y - 0.3)
        stops = [tint(colour, 1.1), tint(colour, 1.0), tint(colour, 0.74)]
        paint.setShader(skia.GradientShader.MakeRadial(centre, radius, stops, [0.0, 0.55, 1.0]))
    return paint


def outlined(canvas: skia.Canvas, look: Appearance, path: skia.Path, paint: skia.Paint) -> None:
    canvas.drawPath(path, paint)
    if look.shade == "line":
        canvas.drawPath(path, stroke(tint(DARK, 1.0), 0.07))
    elif look.shade == "ink":
        canvas.drawPath(path, stroke(tint((60, 30, 70), 1.0), 0.1))


def draw_body(canvas: skia.Canvas, look: Appearance) -> None:
    """Shoulders, shirt, collar and neck."""
    neck = skia.Path()
    neck.addRoundRect(skia.Rect.MakeLTRB(-0.42, 0.6, 0.42, 1.95), 0.25, 0.25)
    body = skia.Path()
    body.moveTo(-2.15, 40.0)
    body.cubicTo(-2.35, 3.0, -2.3, 2.1, -1.55, 1.85)
    body.cubicTo(-0.9, 1.65, -0.55, 1.65, -0.42, 1.45)
    body.lineTo(0.42, 1.45)
    body.cubicTo(0.55, 1.65, 0.9, 1.65, 1.55, 1.85)
    body.cubicTo(2.3, 2.1, 2.35, 3.0, 2.15, 40.0)
    body.close()
    outlined(canvas, look, body, shaded(look, look.shirt, 0, 2.8, 4.2))
    if look.collar == "stripe":
        for y in (2.7, 3.5, 4.3):
            canvas.drawPath(curve([(-2.1, y), (0, y + 0.25), (2.1, y)]), stroke(tint(look.shirt, 0.6), 0.28))
    elif look.collar == "shirt":
        canvas.drawLine(0, 2.2, 0, 40, stroke(tint(look.shirt, 0.7), 0.07))
        for y in (2.9, 3.8, 4.7):
            canvas.drawCircle(0, y, 0.09, fill(tint(WHITE, 1.0)))
    outlined(canvas, look, neck, fill(tint(look.skin, 0.82)))
    opening = skia.Path()
    depth = 2.6 if look.collar in ("v", "shirt") else 2.05
    opening.moveTo(-0.55, 1.55)
    opening.quadTo(-0.1 if depth > 2.3 else -0.5, depth, 0, depth)
    opening.quadTo(0.1 if depth > 2.3 else 0.5, depth, 0.55, 1.55)
    opening.close()
    canvas.drawPath(opening, fill(tint(look.skin, 0.86)))
    if look.collar == "shirt":
        for side in (-1, 1):
            flap = skia.Path()
            flap.addPoly(
                [skia.Point(side * 0.5, 1.4), skia.Point(side * 0.95, 1.75), skia.Point(side * 0.25, 2.7)], True
            )
            canvas.drawPath(flap, fill(tint(look.shirt, 1.25)))


def limb(canvas: skia.Canvas, look: Appearance, points: list[tuple[float, float]], fist: bool) -> None:
    """A sleeve through three points with a hand at the end."""
    sleeve = skia.Path()
    sleeve.moveTo(*points[0])
    sleeve.lineTo(*points[1])
    sleeve.lineTo(*points[2])
    if look.shade in ("line", "ink"):
        canvas.drawPath(sleeve, stroke(tint(DARK, 1.0), 0.92))
    canvas.drawPath(sleeve, stroke(tint(look.shirt, 0.86), 0.8))
    x, y = points[2]
    canvas.drawCircle(x, y, 0.4 if fist else 0.36, fill(tint(look.skin, 0.95)))
    if fist:
        for k in (-0.18, 0.02, 0.22):
            canvas.drawLine(x + k, y - 0.22, x + k, y + 0.02, stroke(tint(look.skin, 0.6), 0.06))
    else:
        for k in (-0.24, -0.08, 0.08, 0.24):
            canvas.drawLine(x + k, y - 0.2, x + k * 1.7, y - 0.62, stroke(tint(look.skin, 0.95), 0.16))


def draw_arms(canvas: skia.Canvas, look: Appearance, t: float) -> None:
    """Raised, clapping, waving, shaking, folded or head-holding arms; "down" draws none."""
    wave = math.sin((5.0 + look.phase[5] * 0.4) * t + look.phase[4])
    for side in (-1, 1):
        shoulder = (side * 1.75, 2.5)
        if look.arms == "up":
            limb(canvas, look, [shoulder, (side * 2.45, 1.2), (side * (2.1 + 0.2 * wave), -1.5 + 0.2 * wave)], False)
        elif look.arms == "clap":
            limb(canvas, look, [(side * 1.9, 3.0), (side * 1.7, 4.4), (side * (0.3 + 0.3 * abs(wave)), 3.1)], False)
        elif look.arms == "wave" and side > 0:
            limb(canvas, look, [shoulder, (2.6, 1.6), (2.4 + 0.5 * wave, -0.4)], False)
        elif look.arms == "fist" and side > 0:
            limb(canvas, look, [shoulder, (2.5, 1.3), (2.2, -0.7 + 0.5 * wave)], True)
        elif look.arms == "head":
            limb(canvas, look, [shoulder, (side * 2.3, 0.9), (side * 1.05, -0.4)], True)
        elif look.arms == "folded":
            limb(canvas, look, [(side * 1.9, 2.9), (side * 1.6, 4.3), (-side * 0.8, 4.0 + 0.25 * side)], True)


def draw_hair_back(canvas: skia.Canvas, look: Appearance) -> None:
    a, colour = look.aspect, tint(look.hair, 0.8)
    if look.style == "long":
        path = skia.Path()
        path.addRoundRect(skia.Rect.MakeLTRB(-1.22, -a * 1.1, 1.22, a * 1.75), 1.1, 1.1)
        outlined(canvas, look, path, fill(colour))
    elif look.style == "bob":
        path = skia.Path()
        path.addRoundRect(skia.Rect.MakeLTRB(-1.25, -a * 1.12, 1.25, a * 0.85), 0.95, 0.95)
        outlined(canvas, look, path, fill(colour))
    elif look.style == "afro":
        canvas.drawOval(oval(0, -a * 0.4, 1.5, 1.35), fill(colour))
    elif look.style == "bun":
        canvas.drawCircle(0, -a * 1.2, 0.45, fill(colour))
    elif look.style == "scarf":
        path = skia.Path()
        path.addRoundRect(skia.Rect.MakeLTRB(-1.28, -a * 1.18, 1.28, a * 1.5), 1.15, 1.15)
        outlined(canvas, look, path, fill(tint(look.hair if sum(look.hair) > 300 else (120, 60, 110), 1.0)))


def draw_hair_front(canvas: skia.Canvas, look: Appearance) -> None:
    a = look.aspect
    paint = shaded(look, look.hair, 0, -a, 1.8)
    path = skia.Path()
    if look.style in ("short", "long", "bob", "bun", "quiff"):
        top = {"quiff": 1.32, "short": 1.12}.get(look.style, 1.14)
        drop = {"short": -0.15, "quiff": -0.2, "bun": -0.15}.get(look.style, 0.15)
        path.moveTo(-1.06, drop)
        path.cubicTo(-1.15, -a * top, -0.6, -a * top, 0.05, -a * top)
        path.cubicTo(0.7, -a * top, 1.15, -a * top, 1.06, drop)
        path.cubicTo(0.95, -a * 0.5, 0.7, -a * 0.66, 0.35 + look.light, -a * 0.64)
        path.cubicTo(-0.2, -a * 0.6, -0.85, -a * 0.62, -1.06, drop)
    elif look.style == "afro":
        path.moveTo(-1.1, -0.3)
        path.cubicTo(-1.2, -a * 1.4, 1.2, -a * 1.4, 1.1, -0.3)
        path.cubicTo(0.9, -a * 0.8, -0.9, -a * 0.8, -1.1, -0.3)
    elif look.style == "cap":
        paint = fill(tint(look.shirt, 0.8))
        path.moveTo(-1.08, -a * 0.42)
        path.cubicTo(-1.1, -a * 1.25, 1.1, -a * 1.25, 1.08, -a * 0.42)
        path.quadTo(1.75, -a * 0.38, 1.7, -a * 0.28)
        path.quadTo(0.6, -a * 0.5, -1.08, -a * 0.42)
    else:
        return
    path.close()
    outlined(canvas, look, path, paint)


def draw_eye(canvas: skia.Canvas, look: Appearance, e: Expression, side: int) -> None:
    x, y = side * 0.4, -0.12
    height = {"round": 0.2, "almond": 0.15, "dot": 0.15, "wide": 0.25, "narrow": 0.12}[look.eyes] * min(
        e.eye * 1.1, 1.15
    )
    if e.eye < 0.45:  # closed or squeezed: an arc, upwards when laughing, downwards when crying or blinking
        bend = -0.2 if e.curve > 0.3 else 0.12
        canvas.drawPath(
            curve([(x - 0.24, y + 0.05), (x, y + 0.05 + bend), (x + 0.24, y + 0.05)]), stroke(tint(DARK, 1.0), 0.1)
        )
    elif look.eyes == "dot":
        canvas.drawOval(oval(x, y, 0.12, 0.17 * min(e.eye, 1.0)), fill(tint(DARK, 1.0)))
    else:
        canvas.drawOval(oval(x, y, 0.24, height), fill(tint(WHITE, 1.0)))
        canvas.drawOval(oval(x, y, 0.12, min(height, 0.15)), fill(tint((70, 48, 34), 1.0)))
        canvas.drawCircle(x + 0.04, y - 0.04, 0.035, fill(tint(WHITE, 1.0)))
        canvas.drawPath(curve([(x - 0.26, y), (x, y - height * 1.9), (x + 0.26, y)]), stroke(tint(DARK, 1.0), 0.06))
    inner, outer = (x - side * 0.26, y - 0.34 - 0.17 * e.brow_inner), (x + side * 0.28, y - 0.34 - 0.17 * e.brow_outer)
    middle = (x, (inner[1] + outer[1]) / 2 - 0.1)
    hair = look.hair if sum(look.hair) < 420 else (120, 90, 60)
    canvas.drawPath(curve([inner, middle, outer]), stroke(tint(hair, 0.75), 0.1))
    if e.tears > 0:
        canvas.drawOval(oval(x + side * 0.05, y + 0.42, 0.08, 0.2), fill(skia.Color(120, 190, 255, 220)))
        canvas.drawLine(x, y + 0.14, x + side * 0.05, y + 0.5, stroke(skia.Color(150, 205, 255, 180), 0.07))


def draw_mouth(canvas: skia.Canvas, look: Appearance, e: Expression) -> None:
    a = look.aspect
    y, w, c = a * 0.52, e.width, e.curve
    left, right = (-w, y - 0.16 * c), (w, y - 0.16 * c)
    if e.gape < 0.06:
        canvas.drawPath(curve([left, (0, y + 0.34 * c), right]), stroke(tint((120, 48, 48), 0.8), 0.1))
        canvas.drawPath(
            curve([(-w * 0.4, y + 0.2), (0, y + 0.24), (w * 0.4, y + 0.2)]), stroke(tint(look.skin, 0.75), 0.05)
        )
        return
    upper = (0, y + 0.18 * c - 0.22 * e.gape if c > -0.3 else y + 0.25 * c - 0.3 * e.gape)
    path = skia.Path()
    path.moveTo(*left)
    path.quadTo(*upper, *right)
    if c < -0.3:  # an unhappy open mouth is wide at the bottom
        path.cubicTo(w * 1.05, y + 0.75 * e.gape, -w * 1.05, y + 0.75 * e.gape, *left)
    else:
        path.cubicTo(w * 0.75, y + 0.25 * c + 0.8 * e.gape, -w * 0.75, y + 0.25 * c + 0.8 * e.gape, *left)
    path.close()
    canvas.drawPath(path, fill(tint((92, 24, 30), 1.0)))
    canvas.save()
    canvas.clipPath(path, skia.ClipOp.kIntersect, True)
    if e.gape > 0.3:
        canvas.drawOval(oval(0, y + 0.25 * c + 0.55 * e.gape, w * 0.6, 0.22), fill(tint((214, 92, 96), 1.0)))
    if e.teeth > 0:
        canvas.drawRect(skia.Rect.MakeLTRB(-w, y - 0.4, w, y + 0.06 + 0.08 * c), fill(tint(WHITE, 1.0)))
    canvas.restore()
    canvas.drawPath(path, stroke(tint((140, 52, 52), 0.9), 0.07))


def draw_face(canvas: skia.Canvas, look: Appearance, e: Expression) -> None:
    a = look.aspect
    for side in (-1, 1):
        canvas.drawOval(oval(side * 1.02, 0.05, 0.2, 0.3), fill(tint(look.skin, 0.85)))
    outlined(canvas, look, head_path(look), shaded(look, look.skin, 0, 0, 1.7))
    if look.beard > 0:
        beard = skia.Path()
        beard.moveTo(-0.98, 0.25)
        beard.cubicTo(-0.9, a * 1.15, 0.9, a * 1.15, 0.98, 0.25)
        beard.cubicTo(0.75, a * 0.42, -0.75, a * 0.42, -0.98, 0.25)
        canvas.save()
        canvas.clipPath(head_path(look), skia.ClipOp.kIntersect, True)
        canvas.drawPath(beard, fill(tint(look.hair, 0.9, int(90 + 130 * look.beard))))
        canvas.restore()
    if e.blush > 0:
        for side in (-1, 1):
            canvas.drawOval(oval(side * 0.62, 0.3, 0.22, 0.14), fill(skia.Color(225, 80, 80, int(70 * e.blush))))
    for side in (-1, 1):
        draw_eye(canvas, look, e, side)
    canvas.drawPath(
        curve([(0.02, 0.02), (0.2 + look.light * 0.2, 0.36), (-0.06, 0.36)]), stroke(tint(look.skin, 0.66), 0.07)
    )
    if e.curve > 0.4:  # smile lines
        for side in (-1, 1):
            canvas.drawPath(
                curve([(side * 0.3, 0.34), (side * 0.72, 0.45), (side * 0.7, 0.68)]),
                stroke(tint(look.skin, 0.72), 0.05),
            )
    if e.brow_inner < -0.5:  # a furrow between the brows
        for x in (-0.07, 0.07):
            canvas.drawLine(x, -0.5, x, -0.28, stroke(tint(look.skin, 0.62), 0.05))
    draw_mouth(canvas, look, e)
    if look.glasses:
        for side in (-1, 1):
            canvas.drawOval(oval(side * 0.42, -0.1, 0.34, 0.28), stroke(tint(DARK, 1.0), 0.07))
        canvas.drawLine(-0.08, -0.12, 0.08, -0.12, stroke(tint(DARK, 1.0), 0.07))


def draw_person(canvas: skia.Canvas, look: Appearance, t: float, x: float, y: float, half: float, tilt: float) -> None:
    """Draws one person with the head's centre at (x, y) and half a head's width of `half` pixels."""
    canvas.save()
    canvas.translate(x, y)
    canvas.scale(half, half)
    canvas.save()
    canvas.rotate(tilt)
    draw_hair_back(canvas, look)
    canvas.restore()
    draw_body(canvas, look)
    canvas.save()
    canvas.rotate(tilt)
    draw_face(canvas, look, expression_at(look, t))
    draw_hair_front(canvas, look)
    canvas.restore()
    draw_arms(canvas, look, t)
    canvas.restore()
