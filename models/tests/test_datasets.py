"""Loaders: both VGAF revisions and every error; decoding compared with what was encoded, and with the daemon's
rules.
"""

import csv
import hashlib
from pathlib import Path

import av
import numpy as np
import pytest
from drawn import RATE, drawn_clip, frames_of, sound_of, write_clip

from ger.contract import VIDEO_MEAN, VIDEO_STD, mel, resize
from ger.datasets import DatasetError, cache, class_counts, colour, folder, gavid, table, vgaf
from ger.datasets.decode import Decoded, Rule, decode, decode_frames, decode_sound
from ger.datasets.preprocessing import Preprocessing, batch
from ger.datasets.specs import open_splits, open_synthetic

RULE = Rule(5.0, 5, 48, 40, RATE)


def vgaf_root(root: Path, train: tuple[int, int, int], val: tuple[int, int, int]) -> Path:
    """A VGAF tree with empty videos: listing them decodes nothing."""
    for split, counts in (("Train", train), ("Val", val)):
        (root / split).mkdir(parents=True)
        names = [
            (f"{split.lower()}{index // 7}_{index % 7}", label)
            for index, label in enumerate(np.repeat([1, 2, 3], counts))
        ]
        (root / f"{split}_labels.txt").write_text(
            "Vid_name Label\n" + "".join(f"{name} {label}\n" for name, label in names)
        )
        for name, _ in names:
            (root / split / f"{name}.mp4").touch()
    return root


@pytest.mark.parametrize(
    ("train", "val", "revision"),
    [
        ((802, 923, 936), (302, 280, 184), "802/923/936 and 302/280/184"),
        ((806, 923, 932), (299, 281, 186), "806/923/932 and 299/281/186"),
        ((802, 923, 936), (302, 281, 183), "unknown"),
    ],
)
def test_vgaf_states_its_revision(tmp_path: Path, train: tuple, val: tuple, revision: str) -> None:
    found = vgaf.load(vgaf_root(tmp_path, train, val))
    assert found.revision == revision
    assert class_counts(found.train.clips) == train and class_counts(found.val.clips) == val
    assert found.train.labels_sha256 == hashlib.sha256((tmp_path / "Train_labels.txt").read_bytes()).hexdigest()
    assert found.train.clips[8].source == "train1" and found.train.clips[8].path == tmp_path / "Train" / "train1_1.mp4"
    told = found.describe()
    assert (
        f"{train[0]} positive, {train[1]} neutral, {train[2]} negative" in told
        and found.val.labels_sha256 in told
        and revision in told
    )


def small_vgaf(root: Path) -> Path:
    return vgaf_root(root, (2, 1, 1), (1, 1, 1))


def test_vgaf_refuses_missing_videos_by_name(tmp_path: Path) -> None:
    root = small_vgaf(tmp_path)
    (root / "Train" / "train0_1.mp4").unlink()
    (root / "Train" / "train0_3.mp4").unlink()
    with pytest.raises(DatasetError, match=r"2 of 4 videos are missing: train0_1\.mp4, train0_3\.mp4"):
        vgaf.load(root)


def test_vgaf_refuses_a_source_in_both_splits(tmp_path: Path) -> None:
    root = small_vgaf(tmp_path)
    (root / "Val" / "train0_9.mp4").touch()
    with (root / "Val_labels.txt").open("a") as file:
        file.write("train0_9 2\n")
    with pytest.raises(DatasetError, match="share 1 source videos: train0"):
        vgaf.load(root)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name,label\na_1,1\n", "first line must be"),
        ("Vid_name Label\ntrain0_0 4\n", "line 2.*1, 2 or 3"),
        ("Vid_name Label\ntrain0_0\n", "line 2"),
        ("Vid_name Label\n\ntrain 1\n", "line 3.*<source>_<clip>"),
        ("Vid_name Label\n../x_0 1\n", "line 2"),
        ("Vid_name Label\ntrain0_0 1\ntrain0_0 2\n", "more than once: train0_0"),
    ],
)
def test_vgaf_refuses_malformed_labels(tmp_path: Path, text: str, what: str) -> None:
    root = small_vgaf(tmp_path)
    (root / "Train_labels.txt").write_text(text)
    with pytest.raises(DatasetError, match=what):
        vgaf.load(root)


def test_vgaf_without_labels_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Train_labels.txt is missing"):
        vgaf.load(tmp_path)


def test_a_table_gives_clips_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.mp4", "in/a, 1.mp4"):
        (tmp_path / name).touch()
    labels = tmp_path / "labels.csv"
    labels.write_text('label,clip,people,source\nNegative,b.mp4,4,v1\npositive,"in/a, 1.mp4",,v2\n')
    split = table.load(tmp_path, labels)
    assert [(clip.name, clip.label, clip.source) for clip in split.clips] == [
        ("b.mp4", 2, "v1"),
        ("in/a, 1.mp4", 0, "v2"),
    ]
    assert split.sources_known and split.clips[0].columns["people"] == "4"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("clip,emotion\na.mp4,positive\n", "column label is missing"),
        ("clip,label\na.mp4,happy\n", "line 2.*happy.*positive, neutral, negative"),
        ("clip,label\na.mp4,neutral\na.mp4,neutral\n", "more than once: a.mp4"),
        ("clip,label\nb.mp4,neutral\n", "1 of 1 videos are missing: b.mp4"),
        ("clip,label\n../a.mp4,neutral\n", "does not lie in"),
        ("clip,label\na.mp4,neutral,3\n", "number of fields"),
        ("clip,label\na.mp4\n", "number of fields"),
    ],
)
def test_a_table_refuses(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=what):
        table.load(tmp_path, tmp_path / "labels.csv")


def test_gavids_columns_are_named_by_the_caller(tmp_path: Path) -> None:
    (tmp_path / "g1.mp4").touch()
    (tmp_path / "g.csv").write_text("Video,Affect,Part\ng1,Ne,Test\n")
    split = gavid.load(tmp_path, tmp_path / "g.csv", gavid.columns("Video", "Affect", split="Part", suffix=".mp4"))
    assert split.clips[0].label == 1 and split.clips[0].columns["Part"] == "Test" and not gavid.is_whole(split)
    with pytest.raises(DatasetError, match="column Label is missing"):
        gavid.load(tmp_path, tmp_path / "g.csv", gavid.columns("Video", "Label"))


def test_folders_are_labels(tmp_path: Path) -> None:
    for name in ("negative/z.mp4", "positive/a.mp4", "positive/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [(clip.name, clip.label) for clip in folder.load(tmp_path).clips] == [
        ("positive/a.mp4", 0),
        ("negative/z.mp4", 2),
    ]
    (tmp_path / "angry").mkdir()
    with pytest.raises(DatasetError, match="angry are no labels"):
        folder.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no clips"):
        folder.load(tmp_path / "empty")


def write_labels(root: Path, rows: list[list[str]]) -> str:
    for row in rows[1:]:
        (root / row[0]).touch()
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return f"table:{root}:{root / 'labels.csv'}"


def test_splits_keep_sources_together(tmp_path: Path) -> None:
    rows = [
        ["clip", "label", "source"],
        *([f"c{i}.mp4", ("positive", "neutral")[i % 2], f"v{i // 3}"] for i in range(30)),
    ]
    train, val, told = open_splits(write_labels(tmp_path, rows), 0.3, seed=4)
    assert {clip.source for clip in train.clips}.isdisjoint(clip.source for clip in val.clips)
    assert (len(train.clips), len(val.clips)) == (21, 9) and "10 source" not in told
    assert open_splits(f"table:{tmp_path}:{tmp_path / 'labels.csv'}", 0.3, seed=4)[1] == val


def test_splits_follow_a_column_and_are_refused_where_they_share_a_source(tmp_path: Path) -> None:
    rows = [
        ["clip", "label", "source", "split"],
        ["a.mp4", "neutral", "v1", "Train"],
        ["b.mp4", "neutral", "v2", "val"],
        ["c.mp4", "neutral", "v3", "test"],
    ]
    train, val, _ = open_splits(write_labels(tmp_path, rows))
    assert [clip.name for clip in train.clips] == ["a.mp4"] and [clip.name for clip in val.clips] == ["b.mp4"]
    rows[2][2] = "v1"
    with pytest.raises(DatasetError, match="share 1 source videos: v1"):
        open_splits(write_labels(tmp_path, rows))
    rows[2][3] = "test"
    with pytest.raises(DatasetError, match="0 to validate on"):
        open_splits(write_labels(tmp_path, rows))


@pytest.mark.parametrize("spec", ["vgaff:/x", "table:/x", "gavid:/x:/y", ""])
def test_unknown_data_is_refused_with_the_forms(spec: str) -> None:
    with pytest.raises(DatasetError, match="vgaf:ROOT"):
        open_splits(spec)
    with pytest.raises(DatasetError, match="neither folder:DIR nor table"):
        open_synthetic(spec)


# ---- decoding ----


def grey_clip(path: Path, levels: list[int], fps: int, seconds: float | None = None) -> None:
    """Every frame is one grey, so that a decoded frame shows its number."""
    write_clip(path, [np.full((32, 48, 3), level, np.uint8) for level in levels], None, fps)


def chosen(path: Path, rule: Rule, step: int) -> list[int]:
    pictures = decode_frames(path, rule)
    assert pictures is not None
    return [round(float(picture.mean()) / step) for picture in pictures]


def test_the_last_frame_before_each_midpoint_is_taken(tmp_path: Path) -> None:
    grey_clip(tmp_path / "8.mov", [index * 5 for index in range(48)], 8)
    # Midpoints 0.5, 1.5, … s: frame 4 is shown at 0.5 s exactly, so 3 is the last one before.
    assert chosen(tmp_path / "8.mov", RULE, 5) == [3, 11, 19, 27, 35]
    # Eight frames: midpoints every 0.625 s from 0.3125 s on.
    assert chosen(tmp_path / "8.mov", Rule(5.0, 8, 32, 32, 0), 5) == [2, 7, 12, 17, 22, 27, 32, 37]
    grey_clip(tmp_path / "25.mov", [index % 50 * 5 for index in range(125)], 25)
    # 25 frames a second: those at 0.48, 1.48, … s, as the author's own command takes them.
    assert chosen(tmp_path / "25.mov", RULE, 5) == [12, 37, 62 - 50, 87 - 50, 112 - 100]


def test_a_shorter_clip_repeats_its_last_frame(tmp_path: Path) -> None:
    grey_clip(tmp_path / "s.mov", [index * 10 for index in range(16)], 8)
    assert chosen(tmp_path / "s.mov", RULE, 10) == [3, 11, 15, 15, 15]


def test_a_midpoint_before_the_second_frame_takes_the_first(tmp_path: Path) -> None:
    grey_clip(tmp_path / "slow.mov", [40, 80, 120], 1)
    assert chosen(tmp_path / "slow.mov", Rule(3.0, 3, 32, 32, 0), 40) == [1, 2, 3]
    assert chosen(tmp_path / "slow.mov", Rule(3.0, 6, 32, 32, 0), 40) == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("yuv", "weights", "is_full", "rgb"),
    [
        # ITU-R BT.601 and BT.709 primaries, as in the daemon's own test.
        ((81, 90, 240), colour.BT601, False, (255, 0, 0)),
        ((145, 54, 34), colour.BT601, False, (0, 255, 0)),
        ((41, 240, 110), colour.BT601, False, (0, 0, 255)),
        ((63, 102, 240), colour.BT709, False, (255, 0, 0)),
        ((173, 42, 26), colour.BT709, False, (0, 255, 0)),
        ((32, 240, 118), colour.BT709, False, (0, 0, 255)),
        ((76, 85, 255), colour.BT601, True, (254, 0, 0)),
        ((235, 128, 128), colour.BT2020, False, (255, 255, 255)),
        ((3, 128, 255), colour.BT601, False, (203, 0, 0)),
    ],
)
def test_pure_colours_are_pure(yuv: tuple, weights: tuple, is_full: bool, rgb: tuple) -> None:
    planes = [np.full((2, 2), value, np.uint8) for value in yuv]
    assert np.abs(colour.convert(*planes, weights, is_full).astype(int) - rgb).max() <= 1


def test_chroma_is_repeated_and_the_matrix_goes_by_height() -> None:
    rng = np.random.default_rng(0)
    for height, weights in ((576, colour.BT601), (578, colour.BT709)):
        frame = av.VideoFrame(10, height, "yuv420p")
        planes = [rng.integers(16, 236, (plane.height, plane.width), np.uint8) for plane in frame.planes]
        for plane, values in zip(frame.planes, planes, strict=True):
            padded = np.zeros((plane.height, plane.line_size), np.uint8)
            padded[:, : plane.width] = values
            plane.update(padded)
        wide = [np.kron(chroma, np.ones((2, 2), np.uint8)) for chroma in planes[1:]]
        assert np.array_equal(colour.to_rgb(frame), colour.convert(planes[0], *wide, weights, False))


def test_the_golden_resize_is_reproduced() -> None:
    golden = Path(__file__).resolve().parents[2] / "tests" / "data" / "golden" / "picture"
    wanted, width, height, to_width, to_height = golden / "hash-640x360-160x160.rgb", 640, 360, 160, 160
    x, y = np.meshgrid(np.arange(width, dtype=np.int64), np.arange(height, dtype=np.int64))
    source = np.stack(
        [((x * 7 + y * 13 + c * 29 + (x * y) // 17) * 2_654_435_761 % 2**32) >> 24 for c in range(3)], -1
    ).astype(np.uint8)
    assert np.array_equal(resize(source, to_width, to_height).ravel(), np.frombuffer(wanted.read_bytes(), np.uint8))


def test_both_modalities_are_decoded_as_they_were_encoded(tmp_path: Path) -> None:
    frames, samples = frames_of(3, 0), sound_of(3, 0)
    write_clip(tmp_path / "c.mov", frames, samples)
    decoded = decode(tmp_path / "c.mov", RULE)
    assert decoded.pictures is not None and decoded.pictures.shape == (5, 48, 40, 3)
    wanted = np.stack([resize(frames[index], 40, 48) for index in (3, 11, 19, 27, 35)])
    assert np.abs(decoded.pictures.astype(int) - wanted).mean() < 4
    assert decoded.samples is not None and np.abs(decoded.samples - samples).max() < 1e-4


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_sound_of_another_rate_stays_in_place(tmp_path: Path, rate_hz: int) -> None:
    at = np.arange(5 * rate_hz) / rate_hz
    write_clip(tmp_path / "t.mov", None, (0.5 * np.sin(2 * np.pi * 1000 * at)).astype(np.float32), rate_hz=rate_hz)
    heard = decode_sound(tmp_path / "t.mov", RULE)
    assert heard is not None and heard.shape == (80_000,)
    wanted = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(80_000) / 16_000)
    assert np.abs(heard - wanted)[400:-400].max() < 0.002


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = np.full(80_000, 8000, np.int16), np.tile(np.array([4000, -4000], np.int16), 40_000)
    with av.open(str(tmp_path / "s.mov"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16_000)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(np.stack([left, right], 1).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 16_000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    heard = decode_sound(tmp_path / "s.mov", RULE)
    assert heard is not None and np.allclose(heard[:2] * 32768, [6000, 2000])


def test_modalities_are_missing_by_the_daemons_rules(tmp_path: Path) -> None:
    sound = sound_of(1, 2)
    drawn_clip(tmp_path / "mute.mov", 1, 2, has_sound=False)
    assert decode_sound(tmp_path / "mute.mov", RULE) is None
    write_clip(tmp_path / "silent.mov", None, np.zeros(80_000, np.float32))
    assert decode_sound(tmp_path / "silent.mov", RULE) is None
    write_clip(tmp_path / "half.mov", None, sound[:40_000])
    assert decode_sound(tmp_path / "half.mov", RULE) is None
    write_clip(tmp_path / "most.mov", None, sound[:76_000])
    most = decode(tmp_path / "most.mov", RULE)
    assert most.pictures is None and most.samples is not None
    assert not most.samples[76_000:].any() and most.samples[:76_000].any()


def test_a_file_that_is_not_media_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_bytes(b"not a film" * 100)
    with pytest.raises(DatasetError, match=r"no\.mp4.*cannot be read"):
        decode(tmp_path / "no.mp4", RULE)
    with pytest.raises(DatasetError, match="missing.mp4"):
        decode(tmp_path / "missing.mp4", RULE)


def test_the_cache_gives_the_same_and_notices_a_change(tmp_path: Path) -> None:
    drawn_clip(tmp_path / "c.mov", 5, 1)
    first = cache.load(tmp_path / "c.mov", RULE, tmp_path / "cache")
    entry = next((tmp_path / "cache").iterdir())
    assert entry.stat().st_mode & 0o077 == 0 and (tmp_path / "cache").stat().st_mode & 0o077 == 0
    again = cache.load(tmp_path / "c.mov", RULE, tmp_path / "cache")
    assert np.array_equal(first.pictures, again.pictures) and np.array_equal(first.samples, again.samples)
    entry.write_bytes(entry.read_bytes()[:100])
    assert np.array_equal(cache.load(tmp_path / "c.mov", RULE, tmp_path / "cache").pictures, first.pictures)
    drawn_clip(tmp_path / "c.mov", 6, 1, has_sound=False)
    assert cache.load(tmp_path / "c.mov", RULE, tmp_path / "cache").samples is None


# ---- numbers ----

TERMS = {
    "clip_seconds": 5.0,
    "video": {
        "frames": 5,
        "height": 48,
        "width": 40,
        "sampling": "midpoint",
        "resize": "squash-bicubic-antialias",
        "mean": VIDEO_MEAN,
        "std": VIDEO_STD,
    },
    "sound": {"kind": "mel", "sample_rate": 16_000, "mel": {"mean": -30.0, "std": 12.0}},
}


def test_preprocessing_follows_the_contract() -> None:
    preprocessing = Preprocessing.of(TERMS)
    samples = sound_of(2, 1)
    inputs = preprocessing.apply(Decoded(np.full((5, 48, 40, 3), 51, np.uint8), samples))
    assert inputs.video.shape == (5, 3, 48, 40) and np.allclose(inputs.video, (0.2 - 0.5) / 0.25)
    assert inputs.sound is not None and inputs.sound.shape == (5, 1, 128, 128)
    assert np.allclose(inputs.sound[:, 0], (mel.log_mel(samples) + 30) / 12, atol=1e-5)
    mute = preprocessing.apply(Decoded(np.zeros((5, 48, 40, 3), np.uint8), None))
    assert mute.present == (True, False) and not mute.sound.any()
    batched = batch([inputs, mute])
    assert batched["video"].shape == (2, 5, 3, 48, 40) and batched["present"].tolist() == [[1, 1], [1, 0]]


def test_a_waveform_is_centred_and_scaled_as_hubert_does() -> None:
    terms = TERMS | {"sound": {"kind": "waveform", "sample_rate": 16_000, "normalise": "zscore-clip"}}
    samples = (0.3 + 0.1 * np.random.default_rng(0).standard_normal(80_000)).astype(np.float32)
    scaled = Preprocessing.of(terms).sound(samples)
    assert scaled is not None and abs(scaled.mean()) < 1e-5 and abs(scaled.std() - 1) < 1e-4
    terms["sound"]["normalise"] = "none"
    assert np.array_equal(Preprocessing.of(terms).sound(samples), samples)
    assert Preprocessing.of(TERMS | {"sound": {"kind": "none"}}).sound(samples) is None


def test_another_preprocessing_is_refused() -> None:
    with pytest.raises(DatasetError, match="video.resize"):
        Preprocessing.of(TERMS | {"video": TERMS["video"] | {"resize": "crop"}})
    with pytest.raises(KeyError, match="std"):
        Preprocessing.of(TERMS | {"video": {key: value for key, value in TERMS["video"].items() if key != "std"}})
