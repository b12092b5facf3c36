"""Sounds without a feeling: music, rain, engines, typing, hum, wind, traffic, silence. All synthesised.

`noise(rng, kind, n)` returns n samples at 16 kHz of unit level (silence is almost zero).
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from ger.synthetic.voices import RATE, Array, smooth_noise

KINDS = ["music", "rain", "engine", "typing", "hum", "wind", "traffic", "machines", "silence"]


def pink(rng: np.random.Generator, n: int) -> Array:
    return lfilter([0.05], [1, -0.95], rng.standard_normal(n))


def tone(rng: np.random.Generator, hertz: float, n: int, partials: int, bright: float) -> Array:
    """A note of harmonics with a common decay of amplitude by `bright`, slightly detuned."""
    t = np.arange(n) / RATE
    out = np.zeros(n)
    for k in range(1, partials + 1):
        if k * hertz < 7500:
            out += bright ** (k - 1) * np.sin(
                2 * np.pi * k * hertz * (1 + rng.normal(0, 0.0008)) * t + rng.uniform(0, 6.3)
            )
    return out


def notes(rng: np.random.Generator, n: int, beat: float, pitches: Array, each: int, sharp: float) -> Array:
    """Notes of a scale on the beats: plucked where `sharp` is large, held where it is small."""
    out = np.zeros(n)
    partials, bright = int(rng.integers(2, 9)), rng.uniform(0.3, 0.8)
    for start in np.arange(-rng.uniform(0, beat), n / RATE, beat):
        length = int(beat * RATE * rng.choice([1, 1, 2]))
        shape = (
            np.exp(-sharp * np.arange(length) / RATE)
            * np.minimum(np.arange(length) / (0.008 * RATE), 1)
            * np.minimum(np.arange(length)[::-1] / 400, 1)
        )
        sound = sum(tone(rng, float(p), length, partials, bright) for p in rng.choice(pitches, each))
        a = max(int(start * RATE), 0)
        b = min(int(start * RATE) + length, n)
        if b > a:
            skip = a - int(start * RATE)
            out[a:b] += (sound * shape)[skip : skip + b - a]
    return out


def drums(rng: np.random.Generator, n: int, beat: float) -> Array:
    out, t = np.zeros(n), np.arange(int(0.3 * RATE)) / RATE
    kick = np.sin(2 * np.pi * (50 * t + 6 * (1 - np.exp(-30 * t)))) * np.exp(-14 * t)
    snare = rng.standard_normal(t.size) * np.exp(-22 * t) * 0.7
    hat = np.diff(rng.standard_normal(t.size + 1)) * np.exp(-60 * t) * 0.4
    for k, start in enumerate(np.arange(0, n / RATE, beat / 2)):
        hit = kick if k % 4 == 0 else snare if k % 4 == 2 else hat
        a = int(start * RATE)
        out[a : a + hit.size] += hit[: n - a]
    return out


def music(rng: np.random.Generator, n: int) -> Array:
    """Chords, a melody, a bass or drums, some of them, in one key and tempo."""
    beat, root = 60 / rng.uniform(60, 170), 55 * 2 ** (rng.integers(0, 12) / 12)
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    pitch = root * 2 ** (np.concatenate([scale, scale + 12]) / 12)
    parts = [
        notes(rng, n, beat * 2, pitch[[0, 2, 4, 5]] * 4, 3, rng.uniform(0.2, 3)),
        notes(rng, n, beat / rng.choice([1, 2]), pitch * rng.choice([4, 8]), 1, rng.uniform(1, 8)),
        notes(rng, n, beat, pitch[[0, 4]], 1, rng.uniform(1, 5)),
        3 * drums(rng, n, beat),
    ]
    keep = rng.random(4) < 0.65
    keep[int(rng.integers(4))] = True
    return sum(p / (np.std(p) + 1e-9) * rng.uniform(0.4, 1.0) for p, k in zip(parts, keep, strict=True) if k)


def rain(rng: np.random.Generator, n: int) -> Array:
    drops = (rng.random(n) < rng.uniform(0.0005, 0.01)) * rng.standard_normal(n) * rng.uniform(1, 5)
    ring = np.exp(-np.arange(160) / rng.uniform(8, 40)) * np.sin(np.arange(160) * rng.uniform(0.4, 2.2))
    hiss = sosfilt(butter(1, rng.uniform(300, 2500), "highpass", fs=RATE, output="sos"), rng.standard_normal(n))
    return hiss * rng.uniform(0.3, 1) * (1 + 0.15 * smooth_noise(rng, n, 1)) + fftconvolve(drops, ring)[:n]


def engine(rng: np.random.Generator, n: int) -> Array:
    """A motor: pulses at a rate that wanders or climbs, a body resonance, and its noise."""
    rate = (
        rng.uniform(18, 120)
        * (1 + 0.06 * smooth_noise(rng, n, 1))
        * np.linspace(1, rng.choice([1, 1, rng.uniform(0.6, 1.8)]), n)
    )
    phase = np.cumsum(rate) / RATE
    pulses = np.maximum(0, np.sin(2 * np.pi * phase)) ** rng.uniform(2, 12) + 0.4 * np.sin(np.pi * phase)
    body = sosfilt(
        butter(2, [rng.uniform(60, 200), rng.uniform(400, 2500)], "bandpass", fs=RATE, output="sos"),
        pulses + 0.15 * rng.standard_normal(n) * (0.5 + pulses),
    )
    return body / (body.std() + 1e-9) + rng.uniform(0.05, 0.6) * pink(rng, n) / 0.16


def typing(rng: np.random.Generator, n: int) -> Array:
    keys = np.zeros(n)
    at = rng.uniform(0, 0.3)
    while at < n / RATE - 0.02:
        keys[int(at * RATE)] += rng.uniform(0.4, 1)
        keys[int((at + 0.012) * RATE)] += rng.uniform(0.1, 0.5)
        at += rng.uniform(0.05, 0.3) if rng.random() < 0.9 else rng.uniform(0.4, 1.2)
    click = rng.standard_normal(300) * np.exp(-np.arange(300) / rng.uniform(15, 70))
    return fftconvolve(keys, click)[:n] * 4 + pink(rng, n) * rng.uniform(0.02, 0.6)


def hum(rng: np.random.Generator, n: int) -> Array:
    """Mains hum, a fan, a refrigerator."""
    out = tone(rng, float(rng.choice([50, 60, 100, 120])), n, int(rng.integers(2, 12)), rng.uniform(0.4, 0.9))
    fan = lfilter([0.2], [1, -0.8], rng.standard_normal(n)) * (
        1 + 0.1 * np.sin(2 * np.pi * rng.uniform(3, 20) * np.arange(n) / RATE)
    )
    return out / out.std() * rng.uniform(0.05, 1) + fan * rng.uniform(0.3, 1.5)


def wind(rng: np.random.Generator, n: int) -> Array:
    gusts = np.exp(0.7 * smooth_noise(rng, n, rng.uniform(0.5, 2)))
    low = lfilter([0.02], [1, -0.98], rng.standard_normal(n)) * 6
    centre = rng.uniform(250, 900)
    whistle = sosfilt(
        butter(2, [centre, centre * 1.3], "bandpass", fs=RATE, output="sos"), rng.standard_normal(n)
    ) * rng.uniform(0, 1.2)
    return (low + whistle) * gusts


def traffic(rng: np.random.Generator, n: int) -> Array:
    out = pink(rng, n) * 2
    for _ in range(int(rng.integers(1, 4))):
        t = np.arange(n) / RATE
        near = np.exp(-(((t - rng.uniform(0, n / RATE)) / rng.uniform(0.5, 1.6)) ** 2))
        out += (pink(rng, n) * 3 + 0.4 * engine(rng, n)) * near
    if rng.random() < 0.25:  # a horn
        length = int(rng.uniform(0.2, 0.9) * RATE)
        a = int(rng.integers(0, n - length))
        out[a : a + length] += tone(rng, rng.uniform(300, 480), length, 6, 0.8) * 0.3
    return out


def machines(rng: np.random.Generator, n: int) -> Array:
    """Beeps, taps, a drill or a vacuum cleaner: sharp and loud, but no voice."""
    t = np.arange(n) / RATE
    kind = int(rng.integers(4))
    if kind == 0:
        period = rng.uniform(0.2, 1.0)
        return np.sin(2 * np.pi * rng.uniform(500, 3500) * t) * (
            (t % period) < period * rng.uniform(0.2, 0.6)
        ) + 0.1 * pink(rng, n)
    if kind == 1:
        hits = (rng.random(n) < rng.uniform(1, 6) / RATE) * 1.0
        body = np.exp(-np.arange(3000) / rng.uniform(60, 700)) * (
            rng.standard_normal(3000) + 2 * np.sin(np.arange(3000) * rng.uniform(0.05, 0.9))
        )
        return fftconvolve(hits, body)[:n] + 0.05 * pink(rng, n)
    if kind == 2:
        return tone(rng, rng.uniform(90, 400), n, 14, 0.85) * 0.2 + rng.standard_normal(n) * rng.uniform(0.2, 0.8)
    wobble = rng.uniform(500, 1200) * (1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.3, 3) * t))
    return np.sign(np.sin(2 * np.pi * np.cumsum(wobble) / RATE)) * 0.4 + 0.1 * pink(rng, n)  # a siren


def silence(rng: np.random.Generator, n: int) -> Array:
    """Zeros, or a microphone's own noise."""
    return np.zeros(n) if rng.random() < 0.3 else rng.standard_normal(n) * 10 ** rng.uniform(-5, -3)


MAKERS = {
    "music": music,
    "rain": rain,
    "engine": engine,
    "typing": typing,
    "hum": hum,
    "wind": wind,
    "traffic": traffic,
    "machines": machines,
    "silence": silence,
}


def noise(rng: np.random.Generator, kind: str, n: int) -> Array:
    """n samples of a kind; unit level, but for silence."""
    samples = MAKERS[kind](rng, n)
    return samples if kind == "silence" else samples / (np.sqrt(np.mean(samples**2)) + 1e-9)
