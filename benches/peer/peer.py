"""The script that a user would write to do what edge-ger does: the peer of `make bench`.

OpenCV reads the camera, ffmpeg its sound, librosa makes the mel spectrogram, onnxruntime runs the network and
paho-mqtt publishes one JSON message for every five seconds. It is written to be a fair peer: nothing in it is slow on
purpose. Colour conversion and scaling can be skipped for frames that the network does not take (`--frames wanted`),
the second connection asks the camera for sound only, and ONNX Runtime's threads sleep between two runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque

# OpenCV reads this when a stream is opened.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|allowed_media_types;video")

import cv2
import librosa
import numpy as np
import onnxruntime as ort
import paho.mqtt.client as mqtt

CLIP_S = 5.0
# A frame farther from its wanted time counts as missing.
FRAME_OFFSET_MAX_S = 0.6
TOPIC = "peer/reading"


class Network:
    """An .onnx file and what its contract states about its inputs."""

    def __init__(self, path: str) -> None:
        options = ort.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        contract = json.loads(self.session.get_modelmeta().custom_metadata_map["ger.contract"])
        self.video, self.sound, self.classes = contract["video"], contract["sound"], contract["classes"]
        self.temperature = contract["calibration"]["temperature"]
        self.inputs = {node.name for node in self.session.get_inputs()}
        self.mean = np.array(self.video["mean"], np.float32)
        self.std = np.array(self.video["std"], np.float32)

    def pictures(self, frames: list[np.ndarray]) -> np.ndarray:
        """f32 [1, T, 3, H, W] from T frames of H×W BGR."""
        rgb = np.stack(frames)[..., ::-1].astype(np.float32) / 255.0
        return np.ascontiguousarray(((rgb - self.mean) / self.std).transpose(0, 3, 1, 2)[None])

    def mel(self, samples: np.ndarray) -> np.ndarray:
        """f32 [1, 5, 1, 128, 128] from 5 s of sound."""
        terms = self.sound["mel"]
        # All seconds in one call, each padded by itself: librosa computes its filters in every call.
        power = librosa.feature.melspectrogram(
            y=samples.reshape(5, -1),
            sr=self.sound["sample_rate"],
            n_fft=terms["n_fft"],
            hop_length=terms["hop"],
            n_mels=terms["bins"],
            fmin=terms["f_min"],
            fmax=terms["f_max"],
            htk=True,
            norm=None,
            pad_mode="reflect",
        )
        decibel = librosa.power_to_db(power[..., : terms["frames"]], amin=terms["amin"], top_db=terms["top_db"])
        return ((decibel - terms["mean"]) / terms["std"]).astype(np.float32)[None, :, None]

    def probabilities(self, frames: list[np.ndarray], samples: np.ndarray | None) -> tuple[np.ndarray, float]:
        """Calibrated probabilities, and the duration of the network alone, ms."""
        inputs = {"video": self.pictures(frames)}
        has_sound = samples is not None
        inputs["sound"] = self.mel(samples) if has_sound else np.zeros((1, 5, 1, 128, 128), np.float32)
        inputs["present"] = np.array([[1.0, float(has_sound)]], np.float32)
        inputs = {name: value for name, value in inputs.items() if name in self.inputs}
        begin = time.monotonic()
        (logits,) = self.session.run(["logits"], inputs)
        inference_ms = 1000 * (time.monotonic() - begin)
        e = np.exp((logits[0] - logits[0].max()) / self.temperature)
        return e / e.sum(), inference_ms


class Frames(threading.Thread):
    """The last seconds of the camera's pictures, already scaled to the network's size."""

    def __init__(self, url: str, network: Network, keep: str) -> None:
        super().__init__(name="frames", daemon=True)
        self.url, self.keep = url, keep
        self.size = (network.video["width"], network.video["height"])
        self.distance_s = CLIP_S / network.video["frames"]
        self.count = network.video["frames"]
        self.recent: deque[tuple[float, np.ndarray]] = deque()
        self.lock = threading.Lock()
        self.start()

    def run(self) -> None:
        while True:
            capture = cv2.VideoCapture(self.url, cv2.CAP_FFMPEG)
            # `grab` decodes; there is no way to decode fewer frames. `retrieve` converts to BGR.
            wanted = self.wanted_after(time.monotonic())
            while capture.grab():
                now = time.monotonic()
                if self.keep == "wanted" and now < wanted:
                    continue
                wanted = self.wanted_after(now)
                ok, frame = capture.retrieve()
                if ok:
                    self.add(now, cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA))
            capture.release()
            time.sleep(1)

    def wanted_after(self, now: float) -> float:
        """The next midpoint of the equal parts of a window; windows end at multiples of their length."""
        return (
            now // self.distance_s + (0.5 if now % self.distance_s < self.distance_s / 2 else 1.5)
        ) * self.distance_s

    def add(self, now: float, frame: np.ndarray) -> None:
        with self.lock:
            self.recent.append((now, frame))
            while self.recent[0][0] < now - CLIP_S - 1:
                self.recent.popleft()

    def window(self, end: float) -> list[np.ndarray] | None:
        """The frames nearest to the wanted moments of the window that ends at `end`."""
        with self.lock:
            recent = list(self.recent)
        chosen = []
        for index in range(self.count):
            wanted = end - CLIP_S + (index + 0.5) * self.distance_s
            at, frame = min(recent, key=lambda timed: abs(timed[0] - wanted), default=(0.0, None))
            if abs(at - wanted) > FRAME_OFFSET_MAX_S:
                return None
            chosen.append(frame)
        return chosen


class Sound(threading.Thread):
    """The last seconds of the camera's sound. OpenCV reads no sound, so ffmpeg opens the camera a second time."""

    def __init__(self, url: str, network: Network) -> None:
        super().__init__(name="sound", daemon=True)
        self.rate, self.samples = network.sound["sample_rate"], network.sound["samples"]
        self.recent: deque[np.ndarray] = deque(maxlen=-(-self.samples // (self.rate // 10)))
        self.lock = threading.Lock()
        source = ["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-allowed_media_types", "audio"]
        output = f"-vn -f f32le -ac 1 -ar {self.rate} -".split()
        command = ["ffmpeg", *source, "-i", url, *output]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.start()

    def run(self) -> None:
        bytes_per_part = self.rate // 10 * 4
        while len(part := self.process.stdout.read(bytes_per_part)) == bytes_per_part:
            with self.lock:
                self.recent.append(np.frombuffer(part, np.float32))

    def window(self) -> np.ndarray | None:
        """The newest samples, None while there are too few."""
        with self.lock:
            samples = np.concatenate(self.recent) if self.recent else np.empty(0, np.float32)
        return samples[-self.samples :] if self.samples <= len(samples) else None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="rtsp://…")
    parser.add_argument("--model", required=True, help="an .onnx with a contract")
    parser.add_argument("--mqtt-port", type=int, default=1883, help="of a broker on this machine")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after this time")
    parser.add_argument("--sound", choices=["none", "camera"], default="camera")
    parser.add_argument(
        "--frames",
        choices=["all", "wanted"],
        default="all",
        help="keep every frame, or only convert and keep those that the network takes",
    )
    return parser.parse_args()


def main() -> None:
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    network = Network(args.model)
    # The first call of librosa compiles and loads for seconds.
    network.mel(np.zeros(network.sound["samples"], np.float32))
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", args.mqtt_port)
    client.loop_start()
    frames = Frames(args.url, network, args.frames)
    sound = Sound(args.url, network) if args.sound == "camera" else None
    try:
        publish_slots(client, network, frames, sound, time.monotonic() + args.seconds)
    finally:
        if sound is not None:
            sound.process.terminate()
            sound.process.wait()
        client.disconnect()
        client.loop_stop()


def publish_slots(client: mqtt.Client, network: Network, frames: Frames, sound: Sound | None, until: float) -> None:
    seq = 0
    while (end := (time.monotonic() // CLIP_S + 1) * CLIP_S) < until:
        time.sleep(max(0.0, end - time.monotonic()))
        ts_ms = round(1000 * (time.time() - (time.monotonic() - end)))
        chosen, samples = frames.window(end), sound.window() if sound else None
        if chosen is None or (sound is not None and samples is None):
            continue
        probabilities, inference_ms = network.probabilities(chosen, samples)
        seq += 1
        reading = {
            "ts_ms": ts_ms,
            "seq": seq,
            "label": network.classes[int(probabilities.argmax())],
            **{name: round(float(p), 4) for name, p in zip(network.classes, probabilities, strict=True)},
            "latency_ms": round(1000 * (time.monotonic() - end)),
            "inference_ms": round(inference_ms),
        }
        client.publish(TOPIC, json.dumps(reading), qos=1)


if __name__ == "__main__":
    main()
