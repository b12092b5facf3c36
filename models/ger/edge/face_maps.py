"""What the picture network's fine map is trained to show: where faces are, and what they express."""

from __future__ import annotations

import numpy as np

GRID = 24


def face_maps(heads: np.ndarray, cells: int = GRID) -> tuple[np.ndarray, np.ndarray]:
    """The targets of the fine map, from `heads` f32 [K, 5]; rows with a feeling below 0 are padding.

    u8 [cells, cells] is 0 for nothing and 1 + feeling on a face (a head without a visible face stays 0); f32 [cells,
    cells] is 1 at each head's centre.
    """
    area, centre = np.zeros((cells, cells), np.uint8), np.zeros((cells, cells), np.float32)
    axis = (np.arange(cells) + 0.5) / cells
    for x, y, rx, ry, feeling in heads:
        if feeling < 0:
            continue
        area[np.ix_(axis > y + ry, np.abs(axis - x) < 2 * rx)] = 0  # the body hides the people behind
        dx, dy = ((axis - x) / rx)[None, :], ((axis - y) / ry)[:, None]
        value = 0 if feeling == 3 else 1 + int(feeling)
        area[dx**2 + dy**2 < 1] = value
        row, column = (min(max(int(v * cells), 0), cells - 1) for v in (y, x))
        area[row, column] = value
        centre[row, column] = 1.0
    return area, centre
