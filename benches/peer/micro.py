"""Times what `benches/micro.rs` times, with the libraries that a user would choose. Prints one JSON object, ms each.

Every library gets one thread, as the daemon has; the best of many runs counts, as `timeit` recommends.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import json
import timeit

import cv2
import librosa
import numpy as np
from PIL import Image

SIZE = (224, 224)
RATE = 16_000
BUDGET_S = 2.0
# Ten-thousandths of width and height.
MASKS = [
    [(0, 0), (10_000, 0), (10_000, 1500), (0, 1500)],
    [(7000, 2000), (10_000, 2000), (10_000, 6000)],
    [(500, 7000), (3500, 6500), (4000, 9000), (1000, 9500)],
]


def best_ms(work) -> float:
    """The fastest run within about `BUDGET_S`, after one that is not counted."""
    work()
    once = timeit.timeit(work, number=1)
    return 1000 * min(timeit.repeat(work, number=1, repeat=max(5, int(BUDGET_S / once))))


def mel(samples: np.ndarray) -> np.ndarray:
    """The spectrogram `ger-mel-1` of a 5 s clip, in dB; all seconds in one call, which is librosa's fastest way."""
    power = librosa.feature.melspectrogram(
        y=samples.reshape(5, RATE),
        sr=RATE,
        n_fft=1024,
        hop_length=125,
        n_mels=128,
        fmin=20.0,
        fmax=8000.0,
        htk=True,
        norm=None,
        pad_mode="reflect",
    )
    return librosa.power_to_db(power[..., :128], amin=1e-10, top_db=80.0)


def main() -> None:
    cv2.setNumThreads(1)
    random = np.random.default_rng(1)
    samples = random.normal(0.0, 0.1, 5 * RATE).astype(np.float32)
    picture = random.integers(0, 256, (1080, 1920, 3), np.uint8)
    image = Image.fromarray(picture)
    masks = [np.int32(np.array(corners) * (1920, 1080) / 10_000) for corners in MASKS]
    print(
        json.dumps(
            {
                "mel_ms": best_ms(lambda: mel(samples)),
                "bicubic_ms": best_ms(lambda: image.resize(SIZE, Image.Resampling.BICUBIC)),
                "area_ms": best_ms(lambda: cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)),
                "masks_ms": best_ms(lambda: cv2.fillPoly(picture, masks, (128, 128, 128))),
                "versions": {"librosa": librosa.__version__, "pillow": Image.__version__, "opencv": cv2.__version__},
            }
        )
    )


if __name__ == "__main__":
    main()
