"""`ger-mel-1` against the golden vectors, which torchaudio and librosa made."""

from pathlib import Path

import numpy as np
import pytest

from ger.contract import mel

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "data" / "golden" / "mel"


def test_the_filter_bank_is_librosas() -> None:
    expected = np.fromfile(GOLDEN / "filter-bank.f32", "<f4").reshape(513, 128)
    assert np.abs(mel.filter_bank() - expected).max() < 1e-6


@pytest.mark.parametrize("name", ["chirp", "click", "speech"])
def test_the_log_mel_is_torchaudios(name: str) -> None:
    samples = np.fromfile(GOLDEN / f"{name}.i16", "<i2").astype(np.float32) / np.float32(32768)
    expected = np.fromfile(GOLDEN / f"{name}.f32", "<f4").reshape(5, 128, 128)
    assert np.abs(mel.log_mel(samples) - expected).max() < 0.02


def test_silence_is_the_floor_everywhere() -> None:
    assert mel.log_mel(np.zeros(mel.SAMPLES, np.float32)) == pytest.approx(-100.0, abs=1e-4)


def test_the_floor_is_taken_over_the_clip() -> None:
    samples = np.zeros(mel.SAMPLES, np.float32)
    samples[100:200] = 0.5
    out = mel.log_mel(samples)
    assert out[4].max() == pytest.approx(out.max() - 80.0)


def test_a_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="80000"):
        mel.log_mel(np.zeros(16_000, np.float32))
