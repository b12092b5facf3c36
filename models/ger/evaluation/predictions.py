"""Evaluates a network on labelled clips: `python -m ger.evaluate MODEL.onnx CLIPS [LABELS] --out report.html`.

MODEL is any `.onnx` with a contract. CLIPS is a folder; LABELS a CSV with the columns `clip` and `label` (see
`ger.datasets.table`) or a VGAF labels file; without LABELS, the folders CLIPS/positive, CLIPS/neutral and CLIPS/negative are
the labels. Every clip is answered with both senses, with the picture alone and with the sound alone, where the network offers that.
Further columns of the labels become curves, as do faults put on some of the clips. `edge-ger evaluate` is the same through
the daemon's own decoders.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ger.evaluation import report
from ger.evaluation import summary
from ger.evaluation.inference import MODES, Answer, Network
from ger.contract import CLASSES
from ger.datasets import folder
from ger.datasets import table
from ger.datasets import Clip, DatasetError, Split
from ger.datasets.decode import Decoded, hear, open_frames, squash
from ger.evaluation.faults import FAULTS, Fault
from ger.datasets.preprocessing import Numbers
from ger.evaluation.metrics import softmax

CLIPS_AT_ONCE = 8
PREDICTIONS = ["clip", "truth", "predicted", "p_positive", "p_neutral", "p_negative", "senses"]


@dataclass
class Collected:
    """All answers: by mode in the split's order, and by (fault, mode) for the clips at `faulted`."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    faulted: list[int] = field(default_factory=list)
    faults: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)


def collect(network: Network, split: Split, curve_clips: int, seed: int = 0) -> Collected:
    """Decodes every clip once and answers it in every mode; `curve_clips` of them also with every fault."""
    modes = [mode for mode in MODES if network.offers(mode)]
    count = len(split.clips)
    chosen = sorted(np.random.default_rng(seed).permutation(count)[: min(curve_clips, count)].tolist())
    collected = Collected({mode: [] for mode in modes}, chosen)
    is_chosen = set(chosen)
    with tqdm(total=count, unit="clip", file=sys.stderr) as bar:
        for start in range(0, count, CLIPS_AT_ONCE):
            part = split.clips[start : start + CLIPS_AT_ONCE]
            opened = [open_clip(network, clip) for clip in part]
            numbers = [clean(network, pictures, samples) for pictures, samples in opened]
            for mode in modes:
                collected.answers[mode] += network.answer(numbers, mode)
            for offset, (clip, (pictures, samples)) in enumerate(zip(part, opened)):
                if start + offset in is_chosen:
                    answer_faults(network, clip, pictures, samples, collected)
            bar.update(len(part))
    return collected


def open_clip(network: Network, clip: Clip) -> tuple[list[np.ndarray] | None, np.ndarray | None]:
    """The chosen frames at the camera's size, and the samples; None for a sense that is missing."""
    rule = network.senses.rule
    return open_frames(clip.path, rule), hear(clip.path, rule) if rule.sample_rate else None


def clean(network: Network, pictures: list[np.ndarray] | None, samples: np.ndarray | None) -> Numbers:
    """The network's numbers for frames of any size and samples."""
    rule = network.senses.rule
    small = None if pictures is None else np.stack([squash(picture, rule.width, rule.height) for picture in pictures])
    return network.senses.numbers(Decoded(small, samples))


def answer_faults(
    network: Network, clip: Clip, pictures: list[np.ndarray] | None, samples: np.ndarray | None, collected: Collected
) -> None:
    """Answers one clip with every fault, with both senses and with the faulty one alone."""
    for fault in FAULTS:
        modes = [mode for mode in ("both", fault.sense) if mode in collected.answers]
        faulty = put_on(fault, clip, pictures, samples)
        numbers = clean(network, *faulty) if len(modes) == 2 else None
        for mode in modes if numbers else []:
            collected.faults.setdefault((fault.name, mode), []).extend(network.answer([numbers], mode))


def put_on(
    fault: Fault, clip: Clip, pictures: list[np.ndarray] | None, samples: np.ndarray | None
) -> tuple[list[np.ndarray] | None, np.ndarray | None]:
    """The clip's frames and samples with the fault; its noise hangs on the clip's name alone, so that it is repeated."""
    rng = np.random.default_rng([zlib.crc32(clip.name.encode()), zlib.crc32(fault.name.encode())])
    if fault.sense == "picture" and pictures is not None:
        return fault.apply(pictures, rng), samples
    if fault.sense == "sound" and samples is not None:
        return pictures, fault.apply(samples, rng)
    return pictures, samples


def write_predictions(path: Path, split: Split, answers: Sequence[Answer], temperature: float) -> None:
    """The CSV that `edge-ger evaluate` writes too: probabilities after temperature, six decimals, in the labels' order.

    A clip that the network does not answer has senses `none` and nothing predicted.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PREDICTIONS)
        for clip, answer in zip(split.clips, answers):
            row = [clip.name, CLASSES[clip.label]]
            if answer.logits is None:
                writer.writerow([*row, "", "", "", "", answer.senses])
                continue
            chances = softmax(answer.logits, temperature)
            writer.writerow([*row, CLASSES[int(answer.logits.argmax())], *(f"{chance:.6f}" for chance in chances), answer.senses])


def read_split(clips: Path, labels: Path | None) -> Split:
    """The clips to evaluate on."""
    return folder.load(clips) if labels is None else table.load(clips, labels)


def evaluate(
    model: Path, split: Split, curve_clips: int = 0, threads: int = 2, calibrate: str | None = None
) -> tuple[dict[str, object], Collected, Network]:
    """(what the report and the JSON say, all answers, the network)."""
    network = Network(model, threads)
    collected = collect(network, split, curve_clips)
    return summary.summarise(model, network, split, collected, calibrate), collected, network


def show(document: dict) -> None:
    """The main figures, for a terminal."""
    for mode, scores in document["modes"].items():
        if not scores["offered"]:
            print(f"{mode:8} not offered by this network")
            continue
        if not scores["clips"]:
            print(f"{mode:8} no clip has what it needs")
            continue
        figures = ", ".join(f"{name} {_interval(scores[key])}" for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1")))
        print(f"{mode:8} {scores['clips']} clips answered, {scores['withheld']} withheld: {figures}")
    told = document["calibration"]
    print(f"calibration error {_interval(told['before'])} before, {_interval(told['after'])} after temperature {told['temperature']}")


def _interval(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("labels", type=Path, metavar="LABELS", nargs="?")
    parser.add_argument("--out", type=Path, metavar="report.html", help="one HTML file, with nothing outside it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same figures for programs")
    parser.add_argument("--predictions", type=Path, metavar="FILE.csv", help="the answer to every clip, with both senses")
    parser.add_argument("--curve-clips", type=int, default=100, help="clips that faults are put on (0: none; default 100)")
    parser.add_argument("--calibrate", metavar="COLUMN=VALUE", help="fit another temperature on these clips and measure it on all others")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime")
    return parser


def main() -> None:
    options = arguments().parse_args()
    try:
        split = read_split(options.clips, options.labels)
        print(split.describe(), flush=True)
        document, collected, network = evaluate(options.model, split, options.curve_clips, options.threads, options.calibrate)
    except DatasetError as error:
        raise SystemExit(str(error)) from error
    show(document)
    if options.predictions:
        write_predictions(options.predictions, split, collected.answers["both"], network.temperature)
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.out:
        options.out.write_text(report.render(document), encoding="utf-8")


if __name__ == "__main__":
    main()
