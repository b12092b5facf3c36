"""Synthetic photographic faces (SFHQ-T2I, Beniaguev 2024, MIT) and backgrounds (Poly Haven, CC0), split and prepared.

`prepare` turns `faces.npz` (see `ger.find_faces`) into `pool.npz`: raw faces,
halves of two faces of one class joined, and faces warped into an expression; and reads the backgrounds into
`backgrounds.npz`. Every face has the same brightness and contrast, whatever its class. The split is by face and by
place, from a hash of the name.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE
from ger.synthetic.canvas import LUMA
from ger.synthetic.warps import lip_row, random_warp

LABELS = {"positive": POSITIVE, "neutral": NEUTRAL, "negative": NEGATIVE, "unlabelled_mostly_neutral": NEUTRAL}
RAW, JOINED, WARPED, UNLABELLED = 0, 1, 2, 3  # kinds of faces in the pool
MEAN, SPREAD = 112.0, 46.0  # brightness and contrast of every face, of 255
# Held-out places, by the first word of their names; a place with two names is one place.
HELD_PLACES = {"lobby", "st", "forest", "workshop", "esplanade"}
HELD_SHARE = 25  # per cent of the faces


def held_face(name: str) -> bool:
    """Whether a face is held out: a quarter of them, by the hash of its file's name."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100 < HELD_SHARE


def held_place(name: str) -> bool:
    """Whether a background is held out: by its place, the first word of its name (`lobby` and `st_fagans` are one)."""
    return name.split("_", maxsplit=1)[0] in HELD_PLACES


def oval_mask(side: int = 128, rx: float = 38.0, ry: float = 52.0, row: float = 63.0, soft: float = 0.14) -> np.ndarray:
    """An oval with soft edges, f32 [side, side] within [0, 1]."""
    y, x = np.mgrid[0:side, 0:side]
    r = np.sqrt(((x - side / 2 + 0.5) / rx) ** 2 + ((y - row) / ry) ** 2)
    return np.clip((1 + soft / 2 - r) / soft, 0, 1).astype(np.float32)


def level(face: np.ndarray) -> np.ndarray:
    """The face with the common brightness and contrast, measured over the head alone."""
    weight = oval_mask()
    grey = face @ LUMA
    mean = float((grey * weight).sum() / weight.sum())
    spread = float(np.sqrt((((grey - mean) ** 2) * weight).sum() / weight.sum()))
    return np.clip((face - mean) * (SPREAD / max(spread, 12.0)) + MEAN, 0, 255).astype(np.float32)


def join(upper: np.ndarray, lower: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The upper half of one face over the lower half of another, skin matched: a third face with that expression."""
    weight = oval_mask(rx=28, ry=40, row=70)[..., None]
    a, b = ((f * weight).sum((0, 1)) / weight.sum() for f in (upper, lower))
    y = np.arange(128, dtype=np.float32)[:, None, None]
    blend = np.clip((y - rng.uniform(68, 78)) / 10 + 0.5, 0, 1)
    return upper * (1 - blend) + np.clip(lower * (a / np.maximum(b, 1)), 0, 255) * blend


def build_pool(stored: dict[str, np.ndarray], seed: int = 1) -> dict[str, np.ndarray]:
    """All faces of the pool, u8 [N, 128, 128, 3], with feeling, kind, generator and side."""
    rng = np.random.default_rng(seed)
    faces = [level(p.astype(np.float32)) for p in stored["pixels"]]
    held = np.array([held_face(str(n)) for n in stored["name"]])
    feeling = np.array([LABELS[str(v)] for v in stored["label"]])
    unlabelled = np.array([str(v).startswith("unlabelled") for v in stored["label"]])
    sdxl = stored["generator"] == "SDXL"
    out = [(faces[i], feeling[i], UNLABELLED if unlabelled[i] else RAW, sdxl[i], held[i]) for i in range(len(faces))]
    lips = [lip_row(f) for f in faces]
    # Neutral faces are warped into every class, the neutral one too, so that a warp alone does not tell the class.
    for i in np.flatnonzero(feeling == NEUTRAL):
        goals = (POSITIVE, NEGATIVE, NEUTRAL) if unlabelled[i] else (POSITIVE, POSITIVE, NEGATIVE, NEGATIVE, NEUTRAL)
        out += [(random_warp(faces[i], lips[i], goal, rng), goal, WARPED, sdxl[i], held[i]) for goal in goals]
    for goal, count in ((POSITIVE, 300), (NEUTRAL, 200), (NEGATIVE, 300)):  # for training only
        own = np.flatnonzero((feeling == goal) & ~held & ~unlabelled)
        for _ in range(count):
            a, b = rng.choice(own, 2, replace=False)
            out.append((join(faces[a], faces[b], rng), goal, JOINED, sdxl[b], False))
    pixels = np.stack([np.clip(o[0], 0, 255).astype(np.uint8) for o in out])
    fields = zip(("feeling", "kind", "sdxl", "held"), list(zip(*out, strict=True))[1:], strict=True)
    return {"pixels": pixels, **{name: np.array(values) for name, values in fields}}


def read_backgrounds(folder: Path) -> dict[str, np.ndarray]:
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise SystemExit(f"{folder}: no .png files; give --media the folder that holds train/backgrounds (Poly Haven)")
    return {
        "pixels": np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths]),
        "held": np.array([held_place(p.stem) for p in paths]),
        "name": np.array([p.stem for p in paths]),
    }


class Photographs:
    """The pool's faces and the backgrounds of one side (`train` or `held`)."""

    def __init__(self, cache: Path, side: str) -> None:
        for name in ("pool.npz", "backgrounds.npz"):
            if not (cache / name).exists():
                raise FileNotFoundError(
                    f"{cache / name} is missing: run `python -m ger.photographs --media DIR --cache {cache}` first"
                )
        with np.load(cache / "pool.npz") as pool:
            mine = pool["held"] == (side == "held")
            self.faces, self.feeling, self.kind, self.sdxl = (
                pool[k][mine] for k in ("pixels", "feeling", "kind", "sdxl")
            )
        with np.load(cache / "backgrounds.npz") as stored:
            self.backgrounds = stored["pixels"][stored["held"] == (side == "held")]
        self.index = {
            (k, f, s): np.flatnonzero((self.kind == k) & (self.feeling == f) & (self.sdxl == s))
            for k in range(4)
            for f in range(3)
            for s in (False, True)
        }

    def pick(self, rng: np.random.Generator, feeling: int, kind: int) -> np.ndarray:
        """A face u8 [128, 128, 3] of a feeling and a kind; both generators as often as the pool allows."""
        sdxl = bool(rng.random() < (0.35 if feeling == NEGATIVE else 0.5))
        own = self.index[kind, feeling, sdxl]
        if len(own) == 0:
            own = self.index[kind, feeling, not sdxl]
        if len(own) == 0:
            raise ValueError(f"no face of kind {kind} and feeling {feeling} on this side of the split")
        return self.faces[own[int(rng.integers(len(own)))]]


@lru_cache(maxsize=2)
def load(cache: Path, side: str) -> Photographs:
    """The photographs of a side, read once a process."""
    return Photographs(cache, side)


def prepare(media: Path, cache: Path) -> None:
    """Writes `pool.npz` from `faces.npz`, and `backgrounds.npz`."""
    with np.load(cache / "faces.npz") as stored:
        pool = build_pool({key: stored[key] for key in stored.files})
    np.savez(cache / "pool.npz", allow_pickle=True, **pool)
    places = read_backgrounds(media / "train" / "backgrounds")
    np.savez(cache / "backgrounds.npz", allow_pickle=True, **places)
    print(
        f"{len(pool['held'])} faces, {int(pool['held'].sum())} of them held out; "
        f"{len(places['held'])} backgrounds, {int(places['held'].sum())} held out"
    )
