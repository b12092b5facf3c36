"""How large people appear: the targets of training, pictures shrunk into empty places, and the figures."""

import numpy as np
import pytest
import torch

from ger.edge import head_width
from ger.edge.network import EdgeNetwork, HeadWidth, Shape
from ger.synthetic.camera import SIZE

TINY = Shape(size=64, dim=16, depth=1, heads=2, stem=(8, 8, 16), sound=(4, 4, 8, 8), head_width=True)


def test_the_median_of_the_heads_that_are_there() -> None:
    heads = np.full((3, 32, 5), -1, np.float32)
    heads[0, :3] = [[0.1, 0.5, w, 0.1, 1] for w in (0.02, 0.05, 0.03)]
    heads[1, 0] = 0.5, 0.5, 0.1, 0.2, 3  # seen from behind: a head all the same
    assert head_width.median_widths(heads) == pytest.approx([0.06, 0.2, 0.0])


def test_a_shrunk_picture_is_whole_and_the_rest_is_empty() -> None:
    frame, empty = np.full((SIZE, SIZE, 3), 255, np.uint8), np.zeros((SIZE, SIZE, 3), np.uint8)
    for scale in (0.2, 0.5, 1.0):
        picture = head_width.shrunk(frame, empty, scale, np.random.default_rng(3))
        rows, columns = np.nonzero(picture[..., 0])
        side = round(SIZE * scale)
        assert (picture > 0).all(-1).sum() == side**2
        assert np.ptp(rows) == np.ptp(columns) == side - 1
    assert not empty.any(), "the empty place is used again"


def test_widths_shrink_with_their_pictures() -> None:
    network = EdgeNetwork(Shape(**{**TINY.to_dict(), "size": SIZE})).eval()
    frames, empty = [np.full((SIZE, SIZE, 3), 200, np.uint8)] * 3, [np.zeros((SIZE, SIZE, 3), np.uint8)]
    vectors, widths = head_width.encode_shrunk(network, frames, np.full(3, 0.1, np.float32), empty, "held", 1)
    assert vectors.shape == (3, 1, TINY.dim)
    assert ((0.1 * head_width.SCALE_MIN["held"] <= widths) & (widths <= 0.1)).all() and len(set(widths.tolist())) == 3


def test_the_width_is_a_share_for_any_input() -> None:
    head = HeadWidth(8)
    with torch.no_grad():
        for scale in (0.1, 1e3):
            said = head(torch.randn(64, 5, 8) * scale)
            assert said.shape == (64, 1) and (said >= 0).all() and (said <= 1).all()


def test_figures_are_factors() -> None:
    said, truth = torch.tensor([0.1, 0.2, 0.05, 0.1]), torch.tensor([0.1, 0.1, 0.1, 0.1])
    assert head_width.figures(said, truth) == {"pictures": 4, "off_by_half": 1.5, "off_by_most": 2.0}
