"""Decoded clips on disk, so that a hundred epochs decode each clip once.

The cache holds pictures and sound, so it is as confidential as the clips: it is readable by its owner alone, and must
be deleted with them. An entry is named by the file's path, size and time and by the rule, so a changed clip is decoded
again.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import astuple
from pathlib import Path

import numpy as np

from ger.datasets.decode import Decoded, Rule, decode


def load(path: Path, rule: Rule, cache: Path | None) -> Decoded:
    """The decoded clip, from the cache where there is one and the clip is in it. Raises `DatasetError` as `decode`
    does.
    """
    if cache is None:
        return decode(path, rule)
    stat = path.stat()
    key = repr((str(path.resolve()), stat.st_size, stat.st_mtime_ns, astuple(rule)))
    entry = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    try:
        with np.load(entry) as stored:
            return Decoded(stored.get("pictures"), stored.get("samples"))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        # Not there, or incomplete after an interruption.
        decoded = decode(path, rule)
    store(entry, decoded)
    return decoded


def store(entry: Path, decoded: Decoded) -> None:
    """Writes an entry whole or not at all, also where several processes write the same one."""
    entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = entry.with_suffix(f".{os.getpid()}.part")
    arrays = {
        name: value
        for name, value in (("pictures", decoded.pictures), ("samples", decoded.samples))
        if value is not None
    }
    with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        np.savez(file, allow_pickle=True, **arrays)
    part.replace(entry)
