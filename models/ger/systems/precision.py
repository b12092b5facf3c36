"""Conversion of an fp32 .onnx to fp16 or int8, and how often the reduced precision gives the same label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from ger.contract import Interface

Arrays = dict[str, np.ndarray]


def to_fp16(source: Path, out: Path) -> None:
    """Weights and arithmetic in half precision; inputs and outputs stay f32."""
    model = OnnxModel(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True))
    model.topological_sort()  # the conversion appends the casts of the inputs last
    onnx.save(model.model, str(out))


def to_int8(source: Path, out: Path) -> None:
    """Weights of MatMul and Gemm as int8 by channel, activations quantised dynamically; convolutions stay f32.

    Weights use 7 bits (`reduce_range`), so that processors without VNNI do not overflow their 16-bit sums.
    """
    quantize_dynamic(
        str(source),
        str(out),
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )


def random_inputs(interface: Interface, rng: np.random.Generator) -> Arrays:
    """Normal noise for each modality, both present."""
    shapes = interface.inputs()
    return {
        name: np.ones(s, np.float32) if name == "present" else rng.standard_normal(s, np.float32)
        for name, s in shapes.items()
    }


def realistic_inputs(interface: Interface, rng: np.random.Generator) -> Arrays:
    """Inputs with the statistics of clips: smooth coloured pictures that hardly move, and tones in quiet noise."""
    given = {name: np.ones(shape, np.float32) for name, shape in interface.inputs().items()}
    place = np.linspace(0, 1, interface.size, dtype=np.float32)
    wave = sum(
        rng.uniform(0.2, 1.0)
        / k
        * np.sin(2 * np.pi * (k * (place[:, None] * a + place[None, :] * b) + rng.random((3, 1, 1))))
        for k in range(1, 7)
        for a, b in [rng.uniform(-1, 1, 2)]
    )
    still = np.clip(0.5 + 0.2 * wave, 0, 1)
    frames = np.stack([np.roll(still, 2 * t, 2) for t in range(interface.frames)])
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (interface.mean, interface.std))
    given["video"] = ((frames - mean) / std)[None].astype(np.float32)
    if interface.sound == "waveform":
        seconds = np.arange(given["sound"].shape[1]) / 16_000
        tones = sum(0.1 * np.sin(2 * np.pi * f * seconds) for f in rng.uniform(100, 2000, 4))
        given["sound"] = (tones + rng.normal(0, 0.01, seconds.size))[None].astype(np.float32)
    if interface.sound == "mel":
        bands = rng.normal(0, 1, (1, 5, 1, 128, 1)).cumsum(3) / 8
        given["sound"] = np.clip(bands + rng.normal(0, 0.4, given["sound"].shape), -3, 3).astype(np.float32)
    return given


def seeded_inputs(interface: Interface, count: int, seed: int) -> Iterator[Arrays]:
    """Alternately realistic and random."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        yield (realistic_inputs, random_inputs)[index % 2](interface, rng)


def clip_inputs(path: Path, interface: Interface) -> Iterator[Arrays]:
    """Clips of an `.npz` whose arrays are named as the inputs, normalised as the contract says, the first axis
    counting clips.
    """
    with np.load(path) as arrays:
        for name, shape in interface.inputs().items():
            if name not in arrays or arrays[name].shape[1:] != shape[1:]:
                found = list(arrays[name].shape) if name in arrays else "nothing"
                raise ValueError(f"{path}: {name}: must be [clips, {', '.join(map(str, shape[1:]))}], but is {found}")
        given = {name: arrays[name].astype(np.float32) for name in interface.inputs()}
    for index in range(min(len(values) for values in given.values())):
        yield {name: values[index : index + 1] for name, values in given.items()}


def session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """The network on the CPU; `threads` 0 is one for each core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def agreement(exact: Path, reduced: Path, inputs: Iterator[Mapping[str, np.ndarray]]) -> tuple[int, int, float]:
    """(inputs with the same label, inputs, the largest difference of a logit)."""
    both = [session(exact), session(reduced)]
    same = count = 0
    worst = 0.0
    for given in inputs:
        first, second = (network.run(["logits"], dict(given))[0] for network in both)
        same += int(first.argmax() == second.argmax())
        count += 1
        worst = max(worst, float(np.abs(first - second).max()))
    return same, count, worst
