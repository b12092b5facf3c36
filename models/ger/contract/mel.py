"""`ger-mel-1`: the log-mel spectrogram that training and the daemon share, in NumPy.

Every constant here is part of the contract of an exported network; a change needs a new id.
`models/golden.py` compares this file with torchaudio and librosa.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

MEL_ID = "ger-mel-1"
SAMPLE_RATE = 16_000
SEGMENTS = 5
SAMPLES = SEGMENTS * SAMPLE_RATE
N_FFT = 1024
HOP = 125
FRAMES = 128
BINS = 128
F_MIN = 20.0
F_MAX = 8000.0
AMIN = 1e-10
TOP_DB = 80.0

Array = np.ndarray


def hz_to_mel(hertz: Array | float) -> Array:
    """HTK mel scale."""
    return 2595.0 * np.log10(1.0 + np.asarray(hertz, dtype=np.float64) / 700.0)


def mel_to_hz(mel: Array) -> Array:
    """Inverse of `hz_to_mel`."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@lru_cache(maxsize=1)
def filter_bank() -> Array:
    """Triangular filters, f32 [513, 128]: rows are FFT bins, columns mel bins, peaks of 1 (norm "none")."""
    freqs = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    corners = mel_to_hz(np.linspace(hz_to_mel(F_MIN), hz_to_mel(F_MAX), BINS + 2))
    widths = np.diff(corners)
    slopes = corners[None, :] - freqs[:, None]
    rising = -slopes[:, :-2] / widths[:-1]
    falling = slopes[:, 2:] / widths[1:]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


@lru_cache(maxsize=1)
def _window() -> Array:
    """Periodic Hann window of 1024 samples."""
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


def power_spectrum(segment: Array) -> Array:
    """|STFT|^2 of one second of sound, f32 [128, 513]: centred, reflect padding, the 129th frame dropped."""
    padded = np.pad(segment.astype(np.float32), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:FRAMES]
    spectrum = np.fft.rfft(frames * _window(), axis=1)
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


def log_mel(samples: Array) -> Array:
    """The clip's log-mel in dB before normalisation, f32 [5, 128 mel bins, 128 frames].

    `top_db` is taken over the whole clip: no value is more than 80 dB below the clip's loudest one.
    Digital silence gives -100 everywhere (10 * log10(1e-10)).
    """
    if samples.shape != (SAMPLES,):
        raise ValueError(f"expected {SAMPLES} samples, got shape {samples.shape}")
    power = np.stack([power_spectrum(s) for s in samples.reshape(SEGMENTS, SAMPLE_RATE)])
    mel = np.swapaxes(power @ filter_bank(), 1, 2)
    decibel = 10.0 * np.log10(np.maximum(mel, AMIN))
    return np.maximum(decibel, decibel.max() - TOP_DB).astype(np.float32)


def contract() -> dict[str, object]:
    """The constants as the contract's `sound.mel` block states them (without mean and std)."""
    return {
        "id": MEL_ID,
        "n_fft": N_FFT,
        "win": N_FFT,
        "hop": HOP,
        "frames": FRAMES,
        "bins": BINS,
        "f_min": F_MIN,
        "f_max": F_MAX,
        "scale": "htk",
        "norm": "none",
        "power": 2,
        "log": "db",
        "amin": AMIN,
        "top_db": TOP_DB,
    }
