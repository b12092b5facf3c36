"""Synthetic group sounds: laughter, cheering, applause; murmur and room noise; shouts, screams and crying.

`scene_sound(seed, label, people, seconds)` is deterministic and stationary in kind: every 5-second window of it
sounds like its label. Voices are a glottal-like source through three formants; then distance, reverberation,
a background, a microphone and a level.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE

RATE = 16_000
VOWELS = [
    (730, 1090, 2440),
    (530, 1840, 2480),
    (390, 1990, 2550),
    (570, 840, 2410),
    (440, 1020, 2240),
    (300, 870, 2240),
]
Array = np.ndarray


def smooth_noise(rng: np.random.Generator, count: int, per_second: float) -> Array:
    """Slow random curve of unit variance, interpolated between `per_second` knots."""
    knots = max(int(count / RATE * per_second) + 4, 4)
    return np.interp(np.linspace(0, knots - 2, count), np.arange(knots), rng.standard_normal(knots))


def bumps(
    rng: np.random.Generator, count: int, gap: tuple[float, float], length: tuple[float, float], attack: float
) -> Array:
    """An envelope of events: `length` seconds each, `gap` seconds apart, with a sharp or soft attack."""
    out = np.zeros(count)
    at = -rng.uniform(0, sum(gap))
    while at < count / RATE:
        duration = rng.uniform(*length)
        n = max(int(duration * RATE), 8)
        x = np.linspace(0, 1, n)
        shape = np.minimum(x / attack, 1.0) * np.minimum((1 - x) / 0.35, 1.0) * rng.uniform(0.55, 1.0)
        start = int(at * RATE)
        a, b = max(start, 0), min(start + n, count)
        if b > a:
            out[a:b] = np.maximum(out[a:b], shape[a - start : b - start])
        at += duration + rng.uniform(*gap)
    return out


def formants(signal: Array, vowel: tuple[int, int, int], size: float) -> Array:
    """Three resonances in parallel."""
    out = np.zeros_like(signal)
    for k, centre in enumerate(vowel):
        width = 60.0 + 40.0 * k
        r = np.exp(-np.pi * width / RATE)
        theta = 2 * np.pi * min(centre * size, 7000) / RATE
        out += lfilter([(1 - r) * 2 / (1 + k)], [1, -2 * r * np.cos(theta), r * r], signal)
    return out


def voiced(rng: np.random.Generator, pitch: Array, rough: float, breath: float, size: float) -> Array:
    """A voice with the given pitch curve: tilted sawtooth, jitter, subharmonics when rough, breath noise, one vowel."""
    jitter = 1 + 0.012 * smooth_noise(rng, pitch.size, 30) + rough * 0.05 * smooth_noise(rng, pitch.size, 150)
    phase = np.cumsum(pitch * jitter) / RATE + rng.random()
    saw = 2 * (phase % 1.0) - 1
    if rough > 0:
        saw *= 1 + rough * 0.8 * np.sign(np.sin(np.pi * phase))
        saw = np.tanh(saw * (1 + 3 * rough))
    source = lfilter([0.25], [1, -0.75], saw) + breath * rng.standard_normal(pitch.size)
    return formants(source, VOWELS[int(rng.integers(len(VOWELS)))], size)


def voice_size(rng: np.random.Generator) -> tuple[float, float]:
    """(pitch factor, formant factor): men, women, children."""
    return [(1.0, 1.0), (1.7, 1.15), (2.2, 1.3)][int(rng.choice(3, p=[0.45, 0.42, 0.13]))]


def laugh(rng: np.random.Generator, n: int) -> Array:
    high, size = voice_size(rng)
    bouts = bumps(rng, n, (0.2, 1.2), (0.9, 2.4), 0.08)
    rate = rng.uniform(4.2, 6.2)
    t = np.arange(n) / RATE
    pulse = np.maximum(0, np.sin(2 * np.pi * rate * t + smooth_noise(rng, n, 1.0))) ** 1.5
    fall = 1.25 - 0.35 * ((t * rng.uniform(0.4, 0.8)) % 1.0)
    pitch = 185 * high * rng.uniform(0.85, 1.3) * fall * (1 + 0.12 * pulse)
    return voiced(rng, pitch, 0.0, rng.uniform(0.15, 0.5), size) * pulse * bouts


def cheer(rng: np.random.Generator, n: int) -> Array:
    high, size = voice_size(rng)
    calls = bumps(rng, n, (0.1, 0.8), (0.8, 2.2), 0.25)
    t = np.arange(n) / RATE
    glide = 1 + 0.3 * np.sin(2 * np.pi * rng.uniform(0.3, 0.6) * t + rng.uniform(0, 6))
    return voiced(rng, 260 * high * rng.uniform(0.8, 1.2) * glide, 0.1, 0.2, size) * calls


def applause(rng: np.random.Generator, n: int, people: int) -> Array:
    impulses = np.zeros(n)
    for _ in range(max(2, min(people, 14))):
        period = rng.uniform(0.19, 0.33)
        times = np.cumsum(np.full(int(n / RATE / period) + 1, period) + rng.normal(0, 0.02, int(n / RATE / period) + 1))
        index = (times[(times > 0) & (times < n / RATE - 0.01)] * RATE).astype(int)
        impulses[index] += rng.uniform(0.4, 1.0)
    length = int(0.02 * RATE)
    clap = rng.standard_normal(length) * np.exp(-np.arange(length) / (0.004 * RATE))
    band = butter(2, [rng.uniform(600, 1000), rng.uniform(2500, 4500)], "bandpass", fs=RATE, output="sos")
    return sosfilt(band, fftconvolve(impulses, clap)[:n]) * 2.0


def talk(rng: np.random.Generator, n: int) -> Array:
    high, size = voice_size(rng)
    phrases = bumps(rng, n, (0.2, 1.4), (0.8, 2.6), 0.05)
    t = np.arange(n) / RATE
    syllables = (
        0.25 + 0.75 * np.maximum(0, np.sin(2 * np.pi * rng.uniform(3, 5) * t + 2 * smooth_noise(rng, n, 2))) ** 0.8
    )
    pitch = 115 * high * rng.uniform(0.85, 1.15) * (1 + 0.1 * smooth_noise(rng, n, 3))
    half = voiced(rng, pitch, 0.0, 0.06, size), voiced(rng, pitch, 0.0, 0.1, size)
    mix = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 4) * t)
    return (half[0] * mix + half[1] * (1 - mix)) * syllables * phrases


def shout(rng: np.random.Generator, n: int) -> Array:
    high, size = voice_size(rng)
    words = bumps(rng, n, (0.05, 0.5), (0.22, 0.6), 0.04)
    pitch = 235 * high * rng.uniform(0.85, 1.25) * (1 + 0.15 * smooth_noise(rng, n, 4))
    return voiced(rng, pitch, rng.uniform(0.5, 1.0), 0.15, size) * words * 1.3


def scream(rng: np.random.Generator, n: int) -> Array:
    high, size = voice_size(rng)
    calls = bumps(rng, n, (0.3, 1.2), (0.8, 1.8), 0.06)
    pitch = 620 * (high**0.4) * rng.uniform(0.85, 1.4) * (1 + 0.1 * smooth_noise(rng, n, 6))
    return voiced(rng, pitch, rng.uniform(0.6, 1.0), 0.35, size * 1.1) * calls * 1.2


def cry(rng: np.random.Generator, n: int) -> Array:
    high, size = voice_size(rng)
    sobs = bumps(rng, n, (0.25, 0.7), (0.7, 1.6), 0.2)
    t = np.arange(n) / RATE
    fall = 1.2 - 0.5 * ((t * rng.uniform(0.5, 0.8)) % 1.0)
    vibrato = 1 + 0.05 * np.sin(2 * np.pi * rng.uniform(5, 7) * t)
    gasp = bumps(rng, n, (0.6, 1.4), (0.15, 0.3), 0.5) * rng.standard_normal(n) * 0.12
    return voiced(rng, 270 * high**0.6 * rng.uniform(0.9, 1.3) * fall * vibrato, 0.15, 0.12, size) * sobs + gasp


def background(rng: np.random.Generator, n: int) -> Array:
    """A place without voices: coloured noise, hum, rain, typing, an engine. It does not depend on the label."""
    white = rng.standard_normal(n)
    kind = str(rng.choice(["pink", "rumble", "rain", "typing", "engine", "fan"]))
    t = np.arange(n) / RATE
    base = lfilter([0.05], [1, -0.95], white)
    if kind == "rumble":
        return lfilter([0.01], [1, -0.99], white) * 4 + 0.2 * base
    if kind == "rain":
        return 0.3 * white + (rng.random(n) < 0.004) * rng.standard_normal(n) * 2
    if kind == "typing":
        keys = (rng.random(n) < 6 / RATE) * rng.standard_normal(n) * 8
        return fftconvolve(keys, np.exp(-np.arange(240) / 40) * rng.standard_normal(240))[:n] * 0.4 + 0.3 * base
    if kind == "engine":
        f = rng.uniform(35, 90) * (1 + 0.03 * smooth_noise(rng, n, 1))
        return np.tanh(2 * np.sin(2 * np.pi * np.cumsum(f) / RATE)) * 0.4 + base
    if kind == "fan":
        return base + 0.2 * np.sin(2 * np.pi * rng.uniform(90, 400) * t)
    return base


def far(rng: np.random.Generator, voice: Array) -> Array:
    """A voice at a distance: quieter and duller."""
    distance = rng.uniform(0, 1)
    pole = 0.65 * distance
    return lfilter([1 - pole], [1, -pole], voice) * (1 - 0.65 * distance)


def reverberate(rng: np.random.Generator, dry: Array) -> Array:
    decay = rng.uniform(0.08, 0.5)
    length = int(decay * RATE)
    tail = rng.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
    tail = lfilter([0.5], [1, -0.5], tail)
    wet = fftconvolve(dry, tail / np.sqrt(np.sum(tail**2)))[: dry.size]
    return dry + rng.uniform(0.1, 0.8) * wet


def voices(rng: np.random.Generator, label: int, people: int, n: int) -> Array:
    """The group: mostly sounds of its label, with some talk."""
    out = np.zeros(n)
    count = int(np.clip(people, 1, 6))
    makers = {POSITIVE: [laugh, laugh, cheer], NEUTRAL: [talk], NEGATIVE: [shout, shout, scream, cry, cry]}[label]
    if label != NEUTRAL and rng.random() < 0.6:  # one kind of sound dominates
        makers = [makers[int(rng.integers(len(makers)))]]
    for k in range(count):
        own = k == 0 or rng.random() < 0.75
        maker = makers[int(rng.integers(len(makers)))] if own else talk
        gain = 1.0 if own else 0.5
        out += gain * far(rng, maker(rng, n)) / np.sqrt(count)
    if label == POSITIVE and people > 2 and rng.random() < 0.45:
        out += applause(rng, n, people) * rng.uniform(0.3, 1.0)
    return out


def scene_sound(seed: int, label: int, people: int, seconds: float = 5.0, clean: bool = False) -> Array:
    """Mono f32 samples at 16 kHz. Without people there is only a background."""
    rng = np.random.default_rng([seed, 53])
    n = int(seconds * RATE)
    quiet = people == 0 or (label == NEUTRAL and rng.random() < 0.2)
    noise = background(rng, n)
    noise /= np.sqrt(np.mean(noise**2)) + 1e-9
    if quiet:
        mix = noise
    else:
        group = reverberate(rng, voices(rng, label, people, n))
        group /= np.sqrt(np.mean(group**2)) + 1e-9
        mix = group + noise * 10 ** (-(rng.uniform(22, 30) if clean else rng.uniform(6, 30)) / 20)
    if not clean:
        cut = butter(1, rng.uniform(40, 200), "highpass", fs=RATE, output="sos")
        mix = sosfilt(cut, mix)
        if rng.random() < 0.5:
            mix = sosfilt(butter(4, rng.uniform(3400, 7600), "lowpass", fs=RATE, output="sos"), mix)
    level = rng.uniform(-34, -14) if not clean else -20.0
    if quiet:
        level -= rng.uniform(0, 25)
    mix = mix / (np.sqrt(np.mean(mix**2)) + 1e-9) * 10 ** (level / 20)
    return np.clip(mix, -1.0, 1.0).astype(np.float32)
