"""Evaluates a network on labelled clips: `python -m ger.evaluate MODEL.onnx CLIPS [LABELS] --out report.html`.

MODEL is any `.onnx` with a contract. CLIPS is a folder; LABELS a CSV file with the columns `clip` and `label` (see
`ger.datasets.table`) or a labels file of VGAF; without LABELS, the folders CLIPS/positive, CLIPS/neutral and
CLIPS/negative are the labels. Every clip is predicted from both modalities, from the picture alone and from the sound
alone, where the network offers that. Further columns of the labels become curves, and so do faults added to some of the
clips. `edge-ger evaluate` measures the same through the daemon's own decoders.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ger.datasets import DatasetError, Split, folder, table
from ger.evaluation import report, summary
from ger.evaluation.inference import Network
from ger.evaluation.predictions import Predictions, predict_split, write_predictions


def read_split(clips: Path, labels: Path | None) -> Split:
    """The clips to evaluate on."""
    return folder.load(clips) if labels is None else table.load(clips, labels)


def evaluate(
    model: Path, split: Split, fault_clips: int = 0, threads: int = 2, calibrate: str | None = None
) -> tuple[dict[str, Any], Predictions, Network]:
    """(what the report and the JSON state, all predictions, the network)."""
    network = Network(model, threads)
    predictions = predict_split(network, split, fault_clips)
    return summary.summarise(model, network, split, predictions, calibrate), predictions, network


def show(document: Mapping[str, Any]) -> None:
    """The main figures, for a terminal."""
    for mode, scores in document["modes"].items():
        if not scores["offered"]:
            print(f"{mode:8} not offered by this network")
            continue
        if not scores["clips"]:
            print(f"{mode:8} no clip has what it needs")
            continue
        accuracy, f1 = _interval(scores["accuracy"]), _interval(scores["macro_f1"])
        print(
            f"{mode:8} {scores['clips']} clips answered, {scores['withheld']} withheld: "
            f"accuracy {accuracy}, macro-F1 {f1}"
        )
    error = document["calibration"]
    print(
        f"calibration error {_interval(error['before'])} before, {_interval(error['after'])} "
        f"after temperature {error['temperature']}"
    )


def _interval(interval: Mapping[str, float]) -> str:
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("labels", type=Path, metavar="LABELS", nargs="?")
    parser.add_argument(
        "--out", type=Path, metavar="report.html", help="one HTML file that refers to nothing outside it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same figures for programs")
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE.csv", help="the prediction for every clip, from both modalities"
    )
    parser.add_argument(
        "--curve-clips", type=int, default=100, help="clips to which faults are added (0: none; default 100)"
    )
    parser.add_argument(
        "--calibrate", metavar="COLUMN=VALUE", help="fit another temperature on these clips, measure it on all others"
    )
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime")
    return parser


def main() -> None:
    options = arguments().parse_args()
    try:
        split = read_split(options.clips, options.labels)
        print(split.describe(), flush=True)
        document, predictions, network = evaluate(
            options.model, split, options.curve_clips, options.threads, options.calibrate
        )
    except DatasetError as error:
        raise SystemExit(str(error)) from error
    show(document)
    if options.predictions:
        write_predictions(options.predictions, split, predictions.by_mode["both"], network.temperature)
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.out:
        options.out.write_text(report.render(document), encoding="utf-8")


if __name__ == "__main__":
    main()
