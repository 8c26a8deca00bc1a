"""What Tierwise is compared with, and on which models."""

import tierwise  # noqa: F401 - before ONNX Runtime, whose telemetry it switches off
