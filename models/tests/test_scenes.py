"""The published synthetic scenes, head maps, and photographic groups from faces that a test draws itself."""

import numpy as np
import pytest
from PIL import Image

from ger.contract import NEGATIVE, NEUTRAL, POSITIVE
from ger.edge.face_maps import face_maps
from ger.synthetic import photographs, published_scenes
from ger.synthetic.appearance import expression_at, random_appearance
from ger.synthetic.camera import clip_frames
from ger.synthetic.canvas import surface
from ger.synthetic.person_drawing import draw_face
from ger.synthetic.photo_groups import PhotoGroup
from ger.synthetic.photographs import Photographs, held_face, held_place, level
from ger.synthetic.warps import lip_row, random_warp


def drawn_face(seed: int, feeling: int) -> np.ndarray:
    """A drawn face in the place of a portrait's, u8 [128, 128, 3]."""
    pixels = np.full((128, 128, 4), 255, np.uint8)
    canvas = surface(pixels).getCanvas()
    canvas.translate(64, 63)
    canvas.scale(37, 37)
    look = random_appearance(np.random.default_rng(seed), "train", feeling)
    draw_face(canvas, look, expression_at(look, 0.0))
    return pixels[..., :3].copy()


@pytest.fixture(scope="module")
def drawn_photographs() -> Photographs:
    """`Photographs` with drawn faces and plain backgrounds: the real ones are not part of the repository."""
    made = Photographs.__new__(Photographs)
    feelings = np.arange(18) % 3
    made.faces = np.stack([drawn_face(i, int(f)) for i, f in enumerate(feelings)])
    made.backgrounds = np.random.default_rng(0).integers(0, 255, (2, 336, 448, 3), dtype=np.uint8)
    made.index = {
        (k, f, s): np.flatnonzero(feelings == f) if not s else np.zeros(0, int)
        for k in range(4)
        for f in range(3)
        for s in (False, True)
    }
    return made


@pytest.mark.parametrize("people", [0, 1, 4, 12, 30])
def test_a_group_shows_its_label_and_is_repeated_by_its_seed(drawn_photographs: Photographs, people: int) -> None:
    first, second = (PhotoGroup(7, NEGATIVE, people, drawn_photographs, "mixed", "train", (320, 180)) for _ in range(2))
    heads = first.heads(1.0)
    assert heads.shape == (people, 5)
    assert np.array_equal(first.frame(1.0), second.frame(1.0))
    if people > 1:
        assert (heads[:, 4] == first.label).sum() * 2 > people
    assert first.label == (NEGATIVE if people else NEUTRAL)
    assert people == 0 or not np.array_equal(first.heads(1.0), first.heads(1.4))  # it moves
    assert people == 0 or np.abs(first.heads(1.0)[:, :2] - first.heads(1.04)[:, :2]).max() < 0.02  # smoothly


def test_a_clip_of_a_group_has_the_networks_size(drawn_photographs: Photographs) -> None:
    video = clip_frames(PhotoGroup(3, POSITIVE, 5, drawn_photographs, "photo", "train", (320, 180)), 3, 1.0)
    assert video.shape == (5, 192, 192, 3) and video.dtype == np.uint8 and video.std() > 5


def test_maps_hold_faces_and_count_heads() -> None:
    heads = np.full((4, 5), -1, np.float32)
    heads[0] = 0.25, 0.5, 0.06, 0.1, POSITIVE
    heads[1] = 0.75, 0.5, 0.06, 0.1, 3  # somebody without a face to be seen
    area, centre = face_maps(heads)
    assert centre.sum() == 2 and set(np.unique(area)) == {0, 1 + POSITIVE}
    assert area[12, 6] == 1 + POSITIVE and area[12, 18] == 0 and area[0].sum() == 0


def test_faces_and_places_are_split_by_name_alone() -> None:
    names = [f"SDXL_{i:07d}.jpg" for i in range(400)]
    share = np.mean([held_face(n) for n in names])
    assert 0.15 < share < 0.35
    assert held_place("lobby_y0") and held_place("st_fagans_interior_1k_y60")  # one place under two names
    assert not held_place("venice_y0") and not held_place("venice_sunset_1k_y0")


def test_every_face_has_the_same_brightness() -> None:
    face = drawn_face(1, NEUTRAL).astype(np.float32)
    weight = photographs.oval_mask()
    for gain in (0.4, 0.7, 1.0):
        grey = level(face * gain) @ np.float32([0.299, 0.587, 0.114])
        assert abs((grey * weight).sum() / weight.sum() - photographs.MEAN) < 6


@pytest.mark.parametrize("goal", [POSITIVE, NEUTRAL, NEGATIVE])
def test_a_warp_changes_the_face_and_leaves_its_surroundings(goal: int) -> None:
    face = drawn_face(4, NEUTRAL).astype(np.float32)
    changed = np.abs(random_warp(face, lip_row(face), goal, np.random.default_rng(2)) - face).mean(-1)
    assert changed[40:110, 40:88].mean() > 1.0 and changed[:4].mean() < 1.0


def test_a_published_scene_is_as_published() -> None:
    colours = [(250, 10 * k, 5) for k in range(9)]
    cut_outs = [Image.new("RGBA", (100, 120), (*c, 255)) for c in colours]
    empty = Image.new("RGB", (640, 480), (0, 0, 255))
    first, again = (list(published_scenes.frames(cut_outs, empty, 3, 5)) for _ in range(2))
    assert [f.shape for f in first] == [(326, 326, 3)] * 3 and all(
        np.array_equal(a, b) for a, b in zip(first, again, strict=True)
    )
    assert not np.array_equal(first[0], first[1])  # redrawn, not moved
    for number, frame in enumerate(first):
        margin = published_scenes.MARGIN + number
        edge = np.ones((326, 326), bool)
        edge[margin : 326 - margin, margin : 326 - margin] = False
        assert (frame[edge] == (0, 0, 255)).all()
        seen = (frame[..., 0] > 200).sum()
        assert 3 * 35 * 42 * 0.9 < seen <= 9 * 53 * 64 * 1.05
    with pytest.raises(ValueError, match="3 to 15"):
        next(published_scenes.frames(cut_outs[:2], empty, 1, 0))
