"""Controls for the edge network's figures: `python -m ger.edge_controls --cache DIR [--onnx FILE] [--published]
[--video FILE ...]`.

* By default: how well the brightness and colour of the held-out clips alone predict the label (a linear model on
  means and standard deviations), and with `--onnx` the figures of another exported network on the same clips.
* `--published`: the network's figures on the synthetic scenes of system 1's paper, made of held-out faces and places;
  picture alone.
* `--video`: the estimated group sizes over real recordings of nobody or one person, on which nothing was trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ger.edge.controls import (
    ExportedNetwork,
    brightness_control,
    held_out_figures,
    published_figures,
    recording_figures,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--onnx", type=Path, help="an exported edge network; needed with --published and --video")
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--video", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    if (options.video or options.published) and options.onnx is None:
        parser.error("--published and --video need --onnx FILE")
    network = None if options.onnx is None else ExportedNetwork(options.onnx)
    if network is not None and options.video:
        for path in options.video:
            print(path.name, json.dumps(recording_figures(network, path)), flush=True)
        return
    if network is not None and options.published:
        print("published scenes:", json.dumps(published_figures(network, options.cache)))
        return
    print("brightness alone:", json.dumps(brightness_control(options.cache)))
    if network is not None:
        print(json.dumps(held_out_figures(network, options.cache), indent=1))


if __name__ == "__main__":
    main()
