"""Ranges of activations from calibration data, found once for each method."""

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    TensorsData,
    create_calibrator,
)
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from tierwise.disk import scratch_folder
from tierwise.operators.quantize.recipe import Calibration

Feeds = Mapping[str, np.ndarray]

# Sorted, because ONNX Runtime's own default is the order of a set, which differs between runs.
QUANTIZABLE_OPS: tuple[str, ...] = tuple(sorted({*QDQRegistry, *QLinearOpsRegistry}))

_METHODS = {
    Calibration.MIN_MAX: CalibrationMethod.MinMax,
    Calibration.ENTROPY: CalibrationMethod.Entropy,
    Calibration.PERCENTILE: CalibrationMethod.Percentile,
}
# Histograms keep every activation of a pass in memory; merging them pass by pass bounds that.
_INPUTS_PER_PASS = 4
# 99.99 leaves out one activation in ten thousand. heuristic: ONNX Runtime's own default of 99.999
# is the same as MinMax on maps of fewer than 100,000 elements.
_PERCENTILE = 99.99


class Calibrator:
    """Ranges of a model's activations over calibration inputs."""

    def __init__(self, model: onnx.ModelProto, feeds: Sequence[Feeds]) -> None:
        """Calibrate ``model`` (with inferred shapes) on ``feeds``."""
        self._model = model
        self._feeds = feeds
        self._found: dict[Calibration, TensorsData] = {}

    def ranges(self, method: Calibration) -> TensorsData:
        """The range of every activation."""
        if method not in self._found:
            self._found[method] = self._calibrate(method)
        return self._found[method]

    def _calibrate(self, method: Calibration) -> TensorsData:
        options = {"percentile": _PERCENTILE} if method is Calibration.PERCENTILE else {}
        with scratch_folder() as folder:
            path = folder / "model.onnx"
            onnx.save_model(self._model, path)
            calibrator = create_calibrator(
                path,
                QUANTIZABLE_OPS,
                str(folder / "augmented.onnx"),
                _METHODS[method],
                extra_options=options,
            )
            # It prints its progress, which would spoil JSON on standard output, and warns of
            # activations that are NaN throughout, of which the study has a warning of its own.
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
                for start in range(0, len(self._feeds), _INPUTS_PER_PASS):
                    calibrator.collect_data(_Reader(self._feeds[start : start + _INPUTS_PER_PASS]))
                return calibrator.compute_data()


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    """Hands inputs in memory to ONNX Runtime."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        feeds = next(self._feeds, None)
        return None if feeds is None else dict(feeds)
