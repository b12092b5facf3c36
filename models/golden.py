"""Writes the golden vectors under tests/data/golden with the libraries that training uses.

Run from the repository root: `models/.venv/bin/python models/golden.py`. Deterministic: a second run
writes the same bytes (with the same library versions). The formulas are repeated in
tests/data/golden/README.md, which the Rust tests follow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import librosa
import numpy as np
import torch
import torchaudio
from PIL import Image
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ger.contract import mel

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "data" / "golden"

# name of the generator, source width and height, target width and height
PICTURES = [
    ("hash", 1920, 1080, 224, 224),
    ("hash", 640, 360, 160, 160),
    ("hash", 97, 61, 224, 224),
    ("edges", 1280, 720, 224, 224),
    ("edges", 640, 360, 128, 128),
    ("edges", 352, 288, 160, 160),
    ("edges", 224, 224, 224, 224),
    ("edges", 97, 61, 224, 224),
    ("edges", 1920, 1080, 96, 96),
]


def picture_hash(width: int, height: int) -> np.ndarray:
    """Noise: every sample from its coordinates by a multiplicative hash (u32, wrapping)."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    value = (x * 7 + y * 13 + c * 29 + (x * y) // 17).astype(np.uint64)
    return ((((value * 2654435761) & 0xFFFF_FFFF) >> 24) & 255).astype(np.uint8)


def picture_edges(width: int, height: int) -> np.ndarray:
    """Gradients with hard edges: bars, discs and full black/white steps that make bicubic overshoot."""
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    red = (x * 255) // max(width - 1, 1)
    green = (y * 255) // max(height - 1, 1)
    blue = np.where(((x // 16) + (y // 16)) % 2 == 0, 255, 0)
    dx, dy = x - width // 2, y - height // 2
    inside = dx * dx + dy * dy < (min(width, height) // 3) ** 2
    red = np.where(inside, 255 - red, red)
    green = np.where(inside & (x % 8 < 4), 0, green)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def lcg(count: int, seed: int) -> np.ndarray:
    """s <- s * 1664525 + 1013904223 (u32, wrapping); yields (s >> 16) - 32768, i32 in [-32768, 32767]."""
    out = np.empty(count, dtype=np.int64)
    state = seed
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFF_FFFF
        out[i] = (state >> 16) - 32768
    return out


def to_i16(signal: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(signal * 32767.0), -32768, 32767).astype("<i2")


def signals() -> dict[str, np.ndarray]:
    """Three 5-second test signals as i16; a sample's value is i16 / 32768 in f32."""
    t = np.arange(mel.SAMPLES) / mel.SAMPLE_RATE
    noise = lcg(mel.SAMPLES, 1) / 32768.0
    chirp = 0.4 * np.sin(2 * np.pi * (60.0 * t + (7800.0 - 60.0) * t * t / 10.0)) + 0.02 * noise
    click = np.round(noise * 1.2) / 32767.0
    click[41_234:41_242] = [0.9, -0.9, 0.6, -0.5, 0.3, -0.2, 0.1, -0.05]
    pitch = 140.0 + 40.0 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / mel.SAMPLE_RATE
    voice = sum(
        np.sin(k * phase) / k * (1.0 + 3.0 * np.exp(-((((k * 140.0) - 700.0) / 300.0) ** 2))) for k in range(1, 40)
    )
    syllable = np.maximum(0.0, np.sin(2 * np.pi * 3.1 * t)) ** 2
    speech = np.clip(0.35 * voice * syllable + 0.01 * noise, -1.0, 1.0)
    return {"chirp": to_i16(chirp), "click": to_i16(click), "speech": to_i16(speech)}


def reference_log_mel(samples: np.ndarray) -> np.ndarray:
    """torchaudio's MelSpectrogram and AmplitudeToDB over five separate seconds, f32 [5, 128, 128]."""
    spectrogram = MelSpectrogram(
        sample_rate=mel.SAMPLE_RATE,
        n_fft=mel.N_FFT,
        win_length=mel.N_FFT,
        hop_length=mel.HOP,
        f_min=mel.F_MIN,
        f_max=mel.F_MAX,
        n_mels=mel.BINS,
        power=2.0,
        center=True,
        pad_mode="reflect",
        norm=None,
        mel_scale="htk",
    )
    power = spectrogram(torch.from_numpy(samples).reshape(1, mel.SEGMENTS, mel.SAMPLE_RATE))[..., : mel.FRAMES]
    return AmplitudeToDB("power", top_db=mel.TOP_DB)(power)[0].numpy()


def check(name: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    worst = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())
    print(f"{name}: largest difference {worst:.2e} (allowed {tolerance:.0e})")
    if worst > tolerance:
        raise SystemExit(f"{name} differs from the reference")


def main() -> None:
    (GOLDEN / "picture").mkdir(parents=True, exist_ok=True)
    (GOLDEN / "mel").mkdir(parents=True, exist_ok=True)
    sources = {"hash": picture_hash, "edges": picture_edges}
    for kind, width, height, to_width, to_height in PICTURES:
        small = Image.fromarray(sources[kind](width, height)).resize((to_width, to_height), Image.Resampling.BICUBIC)
        path = GOLDEN / "picture" / f"{kind}-{width}x{height}-{to_width}x{to_height}.rgb"
        path.write_bytes(np.asarray(small).tobytes())

    bank = torchaudio.functional.melscale_fbanks(
        mel.N_FFT // 2 + 1, mel.F_MIN, mel.F_MAX, mel.BINS, mel.SAMPLE_RATE, norm=None, mel_scale="htk"
    ).numpy()
    second = librosa.filters.mel(
        sr=mel.SAMPLE_RATE, n_fft=mel.N_FFT, n_mels=mel.BINS, fmin=mel.F_MIN, fmax=mel.F_MAX, htk=True, norm=None
    ).T
    check("filter bank, ger.mel against torchaudio", mel.filter_bank(), bank, 1e-3)
    check("filter bank, ger.mel against librosa", mel.filter_bank(), second, 1e-5)
    (GOLDEN / "mel" / "filter-bank.f32").write_bytes(mel.filter_bank().astype("<f4").tobytes())

    for name, wave in signals().items():
        samples = wave.astype(np.float32) / np.float32(32768.0)
        expected = reference_log_mel(samples)
        check(f"{name}, ger.mel against torchaudio", mel.log_mel(samples), expected, 2e-2)
        (GOLDEN / "mel" / f"{name}.i16").write_bytes(wave.tobytes())
        (GOLDEN / "mel" / f"{name}.f32").write_bytes(expected.astype("<f4").tobytes())
    silence = reference_log_mel(np.zeros(mel.SAMPLES, np.float32))
    print("silence:", float(silence.min()), "to", float(silence.max()))


if __name__ == "__main__":
    main()
