"""The published systems: sizes as published, parts against torch's own, and what training needs."""

import pytest
import torch
from torch import nn

from ger.recipes.losses import mmd
from ger.systems import SYSTEMS, build, config_of
from ger.systems.augusma2023 import halves
from ger.systems.parts import Attention, sine_positions
from ger.systems.vemd2026 import TransformerLayer

VARIANTS = [
    ("augusma2023", {"head": "mean"}),
    ("augusma2023", {"head": "flatten"}),
    ("augusma2023", {"head": "pooling"}),
    ("evtodienko2021", {"pool": "before"}),
    ("evtodienko2021", {"pool": "after"}),
    ("evtodienko2021", {"resnet": "resnet50d"}),
    ("vemd2026", {"head": "projected"}),
    ("vemd2026", {"head": "plain"}),
]


def tiny(system: str, **fields: object) -> nn.Module:
    torch.manual_seed(0)
    return build(system, {"size": "tiny", **fields}).eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def inputs(network: nn.Module, clips: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(clips, *shape[1:], generator=generator) for shape in network.interface.inputs().values()]


def test_system_1_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = build("augusma2023", "full")
    assert count(network) == 323_587_139
    assert count(network.video_backbone.vit) == 303_179_776


def test_systems_2_and_3_have_their_encoders_published_sizes() -> None:
    with torch.device("meta"):
        second, third = build("evtodienko2021", "full"), build("vemd2026", "full")
    assert 136e6 < count(second) < 140e6  # published: about 137 million
    assert count(third.vit) == 303_179_776
    assert count(third.trunk.resnet) == 23_508_032  # ResNet-50 without its last layer
    assert third.emotion.linear_reduction.weight.shape == (512, 50_176)
    assert third.vit_latent.weight.shape == (25_088, 1024)


@pytest.mark.parametrize("system, fields", VARIANTS)
def test_each_answers_each_clip_by_itself(system: str, fields: dict) -> None:
    network = tiny(system, **fields)
    given = inputs(network, 3)
    with torch.no_grad():
        together = network(*given)
        alone = torch.cat([network(*(value[i : i + 1] for value in given)) for i in range(3)])
    assert together.shape == (3, 3) and together.isfinite().all() and together.std() > 0
    assert torch.allclose(together, alone, atol=1e-5) == network.interface.any_batch


@pytest.mark.parametrize("system, fields", VARIANTS)
def test_a_configuration_builds_the_same_network(system: str, fields: dict) -> None:
    network = tiny(system, **fields)
    again = build(system, config_of(network))
    assert again.config == network.config
    again.load_state_dict(network.state_dict())


def test_each_input_matters() -> None:
    for system in SYSTEMS:
        network = tiny(system)
        given = inputs(network, 1)
        for place in range(len(given)):
            other = [value + 0.5 * torch.randn_like(value) if i == place else value for i, value in enumerate(given)]
            with torch.no_grad():
                assert not torch.equal(network(*given), network(*other)), (system, place)


def test_attention_is_torchs() -> None:
    theirs = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    ours = Attention(16, 2).eval()
    ours.load_state_dict(theirs.state_dict())
    query, memory = torch.randn(3, 4, 16), torch.randn(3, 5, 16)
    assert torch.allclose(ours(query, memory), theirs(query, memory, memory)[0], atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_halves_are_torchs_adaptive_pooling(width: int) -> None:
    maps = torch.randn(2, 4, 3, width)
    assert torch.allclose(halves(maps), nn.AdaptiveAvgPool2d((1, 2))(maps)[:, :, 0], atol=1e-6)


def test_the_transformer_layer_is_torchs() -> None:
    theirs = nn.TransformerEncoderLayer(16, 1, 32, batch_first=True).eval()
    ours = TransformerLayer(16, 32).eval()
    ours.load_state_dict(theirs.state_dict())
    steps = torch.randn(2, 5, 16)
    assert torch.allclose(ours(steps), theirs(steps), atol=1e-5)


def test_positions_are_sines_and_cosines_in_turn() -> None:
    positions = sine_positions(5, 8)[0]
    assert positions[0].tolist() == [0, 1] * 4
    assert positions[3, :4].tolist() == pytest.approx(
        [0.14112, -0.98999, 0.29552, 0.95534], abs=1e-4
    )  # of 3 and of 0.3


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_picture_encoder_can_train_alone(system: str) -> None:
    network = tiny(system)
    frames = inputs(network, 1)[0][0]
    vectors = network.picture(frames)
    assert vectors.ndim == 2 and len(vectors) == len(frames)


def test_pooling_before_and_after_the_cnn_differ_only_for_moving_pictures() -> None:
    before, after = tiny("evtodienko2021", pool="before"), tiny("evtodienko2021", pool="after")
    after.load_state_dict(before.state_dict())
    video, sound = inputs(before, 1)
    still = video[:, :1].expand_as(video)
    with torch.no_grad():
        assert torch.allclose(before(still, sound), after(still, sound), atol=1e-4)
        assert not torch.allclose(before(video, sound), after(video, sound), atol=1e-4)


def test_vemd_trains_with_its_decoder_and_penalty() -> None:
    network = tiny("vemd2026").train()
    video, labels = inputs(network, 2)[0], torch.tensor([0, 2])
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 1e-2)
    frozen = {name: p.clone() for name, p in network.named_parameters() if name.startswith("vit.")}
    before = {name: p.clone() for name, p in network.named_parameters()}
    given = network.training_answers(video)
    assert given["logits"].shape == (2, 3) and given["latent"].shape == (10, 2 * 8 * 49)
    assert (
        given["heatmaps"].shape == (2, *network.heatmap_shape)
        and 0 <= given["heatmaps"].min() <= given["heatmaps"].max() <= 1
    )
    penalty = mmd(given["latent"], torch.Generator().manual_seed(0))
    assert penalty > 0
    loss = nn.functional.cross_entropy(given["logits"], labels) + penalty + given["heatmaps"].square().mean()
    loss.backward()
    optimiser.step()
    changed = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert all(torch.equal(p, frozen[name]) for name, p in network.named_parameters() if name in frozen)
    assert {
        "emotion.classifier.3.weight",
        "trunk.latent.weight",
        "vit_latent.weight",
        "body_decoder.layers.0.weight",
    } <= changed


@pytest.mark.parametrize("config", [{"head": "nothing"}, {"heads": 3}, "huge"])
def test_an_unknown_configuration_is_refused(config: object) -> None:
    with pytest.raises(ValueError, match="known|has no"):
        build("augusma2023", config)
