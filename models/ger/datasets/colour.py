"""From a decoder's luma and chroma to red, green and blue, as the daemon does it (`src/infer/decode/colour.rs`).

libswscale's and GStreamer's fast conversions each differ by some levels from this and from each other, so neither is
used: chroma is repeated for the pixels that share it, luma below black counts as black, and the matrix is applied in
1/65536, exact to half a level. The daemon is within one level of that.
"""

from __future__ import annotations

import av
import numpy as np

# Weights (kr, kb) of red and blue in luma: ITU-R BT.601, BT.709, BT.2020, SMPTE 240M, FCC 1953.
BT601, BT709, BT2020, SMPTE240M, FCC = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593), (0.212, 0.087), (0.30, 0.11)
# Matrix coefficients by their number in ITU-T H.273, table 4, which libav passes on.
MATRICES = {1: BT709, 4: FCC, 5: BT601, 6: BT601, 7: SMPTE240M, 9: BT2020, 10: BT2020}
FULL_RANGE = 2  # libav's AVCOL_RANGE_JPEG
STANDARD_HEIGHT_MAX = 576  # unless the stream states its matrix: BT.601 up to this height, BT.709 above
# Pixel formats of 8 bits in planes: by how much chroma is coarser than luma, (rows, columns).
PLANAR = {
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "yuv422p": (1, 2),
    "yuvj422p": (1, 2),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
}


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """The frame's picture, u8 RGB [height, width, 3].

    A format other than 8-bit planar YUV (10 bits, say) is brought to it by libswscale first, which the daemon's
    decoders do in their own ways: there the two may differ by a level or two.
    """
    if frame.format.name in ("rgb24", "gbrp", "bgr24", "rgba", "bgra", "pal8"):
        return frame.to_ndarray(format="rgb24")
    is_full_range = int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj")
    weights = MATRICES.get(int(frame.colorspace)) or (BT601 if frame.height <= STANDARD_HEIGHT_MAX else BT709)
    if frame.format.name not in PLANAR:
        frame = frame.reformat(format="yuv420p")
    rows, columns = PLANAR[frame.format.name]
    luma, u, v = (_plane(plane) for plane in frame.planes[:3])
    height, width = luma.shape
    u, v = (chroma.repeat(rows, 0).repeat(columns, 1)[:height, :width] for chroma in (u, v))
    return convert(luma, u, v, weights, is_full_range)


def convert(
    luma: np.ndarray, u: np.ndarray, v: np.ndarray, weights: tuple[float, float], is_full_range: bool
) -> np.ndarray:
    """Luma and chroma of each pixel, u8 [H, W] each, to u8 RGB [H, W, 3], by the weights (kr, kb) of ITU-T H.273."""
    kr, kb = weights
    kg = 1.0 - kr - kb
    luma_scale, chroma_scale = (1.0, 1.0) if is_full_range else (255.0 / 219.0, 255.0 / 224.0)

    def fixed(factor: float) -> np.int32:
        return np.int32(round(factor * 65_536))

    grey = np.maximum(luma.astype(np.int32) - (0 if is_full_range else 16), 0) * fixed(luma_scale) + 32_768
    u, v = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    red = grey + fixed(2 * (1 - kr) * chroma_scale) * v
    green = grey + fixed(-2 * (1 - kb) * kb / kg * chroma_scale) * u + fixed(-2 * (1 - kr) * kr / kg * chroma_scale) * v
    blue = grey + fixed(2 * (1 - kb) * chroma_scale) * u
    return np.clip(np.stack([red, green, blue], -1) >> 16, 0, 255).astype(np.uint8)


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """A plane's samples without the padding between rows, u8 [rows, columns]."""
    rows = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * plane.height).reshape(
        plane.height, plane.line_size
    )
    return rows[:, : plane.width]
