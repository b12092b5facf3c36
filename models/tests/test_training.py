"""The edge network learns: head maps from a few frames, augmentation keeps heads on their faces, a run resumes where
it stopped.
"""

import numpy as np
import pytest
import torch
from torch import nn

from ger.contract import resize
from ger.edge import augment, figures
from ger.edge.face_maps import face_maps
from ger.edge.network import EdgeNetwork, Shape
from ger.edge.training import StageRun, head_loss
from ger.synthetic.scenes import Scene

TINY = Shape(size=64, dim=16, depth=1, heads=2, stem=(8, 8, 16), sound=(4, 4, 8, 8), head_width=True)


def frames(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Drawn frames u8 [count, 64, 64, 3] of one to three people, and their heads f32 [count, 32, 5]."""
    scenes = [Scene(i, i % 3, 1 + i % 3, size=(160, 160)) for i in range(count)]
    heads = np.full((count, 32, 5), -1, np.float32)
    for i, scene in enumerate(scenes):
        heads[i, : scene.people] = scene.heads(0.0)
    return np.stack([resize(s.frame(0.0), 64, 64) for s in scenes]), heads


def test_the_fine_map_learns_where_heads_are() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = EdgeNetwork(TINY)
    pixels, heads = frames(12)
    x = augment.normalise(pixels)
    optimiser = torch.optim.AdamW(network.picture.parameters(), lr=4e-3)
    losses = []
    for _ in range(50):
        _, area, centre = network.picture(x)
        loss = head_loss(heads, area, centre)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    found = (area.argmax(1) > 0).numpy()
    there = np.stack([face_maps(h, 8)[0] > 0 for h in heads])
    assert found[there].mean() > found[~there].mean() + 0.4


def test_heads_move_with_their_faces() -> None:
    x = torch.zeros(16, 3, 96, 96)
    heads = np.full((16, 2, 5), -1, np.float32)
    heads[:, 0] = 0.6, 0.4, 0.1, 0.1, 2
    x[:, :, 35:42, 54:61] = 1.0  # a mark where the head is
    moved, after = augment.transform(x, heads, np.random.default_rng(3))
    assert (after[:, 1] == -1).all()
    for picture, head in zip(moved, after[:, 0], strict=True):
        rows, columns = np.nonzero(picture[0].numpy() > 0.5)
        assert head[4] == 2 and len(rows)
        assert abs(columns.mean() / 96 - head[0]) < 0.02 and abs(rows.mean() / 96 - head[1]) < 0.02
    assert len({round(float(v), 3) for v in after[:, 0, 0]}) > 10


def test_adding_a_sound_of_the_same_label_only_adds_power() -> None:
    mels, labels = torch.randn(8, 5, 128, 128), torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    mixed = augment.louder_of_two(mels, labels, 12.0, np.random.default_rng(1))
    assert (mixed >= mels - 1e-4).all() and (mixed > mels + 1e-3).any()
    alone = augment.louder_of_two(mels[:1], labels[:1], 12.0, np.random.default_rng(1))
    assert torch.equal(alone, mels[:1])


def test_a_run_resumes_where_it_stopped(tmp_path) -> None:
    def losses(run: StageRun, upto: int) -> list[float]:
        out = []
        for epoch in range(run.first, upto):
            loss = (run.modules[0](torch.ones(1, 3)) - 2.0).square().sum()
            out.append(loss.item())
            run.step(loss, torch.ones(1))
            run.save_epoch(epoch)
        return out

    def fresh(name: str) -> StageRun:
        torch.manual_seed(1)
        return StageRun(tmp_path / name, nn.ModuleList([nn.Linear(3, 2)]), 1e-2, 6, 1)

    whole = losses(fresh("whole.pt"), 6)
    halves = losses(fresh("halves.pt"), 3) + losses(fresh("halves.pt"), 6)
    assert halves == pytest.approx(whole)
    assert whole[-1] < whole[0]


def test_figures() -> None:
    logits = torch.tensor([[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0], [4.0, 0, 0]])
    labels = torch.tensor([0, 1, 2, 1])
    assert figures.score(labels.numpy(), logits.argmax(1).numpy())["accuracy"] == 0.75
    assert figures.calibration_error(logits, labels, 1.0) == pytest.approx(
        abs(0.75 - float(torch.softmax(logits, 1).max())), abs=1e-6
    )
    assert figures.fit_temperature(logits, labels) > 1.0  # it was too sure
    low, high = figures.interval(np.array([0.0, 1.0] * 50))
    assert 0.35 < low < 0.5 < high < 0.65


def test_a_missing_modality_changes_nothing() -> None:
    torch.manual_seed(0)
    network = EdgeNetwork(TINY).eval()
    video, sound = torch.randn(2, 5, 3, 64, 64), torch.randn(2, 5, 1, 128, 128)
    with torch.no_grad():
        for present, other in (
            (torch.tensor([[0.0, 1.0]] * 2), (video + 1, sound)),
            (torch.tensor([[1.0, 0.0]] * 2), (video, sound + 1)),
        ):
            for a, b in zip(network(video, sound, present), network(*other, present), strict=True):
                assert torch.allclose(a, b, atol=1e-6)
