"""Real vocal bursts (EmoGator, Buhl 2023, arXiv:2301.00508, Apache-2.0): decoded once, split by contributor.

A file is named CCCCCC-EE-I: contributor, category, instance. Contributors 1-270 are for training, 271-300 are held out.
`ger.bursts` decodes them.
"""

from __future__ import annotations

import multiprocessing
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE

RATE = 16_000
LAST_TRAINING_CONTRIBUTOR = 270
# category number to (name, label)
CATEGORIES = {
    2: ("amusement", POSITIVE),
    13: ("elation", POSITIVE),
    28: ("positive surprise", POSITIVE),
    30: ("triumph", POSITIVE),
    17: ("interest", NEUTRAL),
    18: ("neutral", NEUTRAL),
    3: ("anger", NEGATIVE),
    11: ("distress", NEGATIVE),
    15: ("fear", NEGATIVE),
    24: ("sadness", NEGATIVE),
}


def decode(path: Path) -> np.ndarray:
    """A burst as i16 mono at 16 kHz, silence at its ends removed, peak at 0.9 of full scale."""
    chunks = []
    with av.open(str(path)) as media:
        resampler = av.AudioResampler("fltp", "mono", RATE)
        for frame in media.decode(audio=0):
            chunks += [r.to_ndarray()[0] for r in resampler.resample(frame)]
        chunks += [r.to_ndarray()[0] for r in resampler.resample(None)]
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < 1e-4:
        return np.zeros(0, np.int16)
    loud = np.flatnonzero(np.abs(samples) > 0.03 * peak)
    trimmed = samples[max(loud[0] - 800, 0) : loud[-1] + 1600] / peak
    return np.rint(trimmed * 0.9 * 32767).astype(np.int16)


def prepare(media: Path, cache: Path, workers: int = 2) -> None:
    """Writes `bursts.npz`: all samples end to end, with offsets, contributors and categories."""
    folder = media / "train" / "bursts"
    paths = sorted(folder.glob("*.opus"))
    if not paths:
        raise SystemExit(f"{folder}: no .opus files; give --media the folder that holds train/bursts (EmoGator)")
    with multiprocessing.Pool(workers) as pool:
        parts = list(pool.imap(decode, paths, chunksize=32))
    keys = np.array([[int(v) for v in p.stem.split("-")] for p in paths], np.int32)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(
        cache / "bursts.npz",
        samples=np.concatenate(parts),
        ends=np.cumsum([len(p) for p in parts]),
        contributor=keys[:, 0],
        category=keys[:, 1],
    )
    print(f"{len(paths)} bursts, {sum(len(p) for p in parts) / RATE / 60:.0f} minutes")


class VocalBursts:
    """The decoded bursts of one side of the split (`train` or `held`)."""

    def __init__(self, cache: Path, side: str) -> None:
        path = cache / "bursts.npz"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run `python -m ger.bursts --media DIR --cache {cache}` first")
        with np.load(path) as stored:
            self.samples, ends = stored["samples"], stored["ends"]
            self.contributor, self.category = stored["contributor"], stored["category"]
        self.starts, self.ends = np.concatenate([[0], ends[:-1]]), ends
        mine = (self.contributor <= LAST_TRAINING_CONTRIBUTOR) == (side == "train")
        mine &= self.ends - self.starts > RATE // 4
        self.index: dict[tuple[int, int], list[int]] = {}
        for i in np.flatnonzero(mine):
            self.index.setdefault((int(self.contributor[i]), int(self.category[i])), []).append(int(i))
        self.people = {c: sorted({k[0] for k in self.index if k[1] == c}) for c in CATEGORIES}

    def get(self, i: int) -> np.ndarray:
        """Burst number i as f32 within [-1, 1]."""
        return self.samples[self.starts[i] : self.ends[i]].astype(np.float32) / 32768


@lru_cache(maxsize=2)
def load(cache: Path, side: str) -> VocalBursts:
    """The bursts of a side, read once a process."""
    return VocalBursts(cache, side)
