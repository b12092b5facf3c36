"""The contract's resize rule `squash-bicubic-antialias`: to the network's size whatever the aspect ratio, as
Pillow's bicubic does.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """u8 RGB [H, W, 3] to u8 RGB [height, width, 3]."""
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
