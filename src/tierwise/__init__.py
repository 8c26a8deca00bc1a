"""Find, prove and ship the best way to deploy a black-box ONNX model.

The folders are the architecture, and imports go downward only; ``docs/design.md``
draws the house and the way of the data through it.
"""

import os
from importlib.metadata import version

# ONNX Runtime from 1.32 on reports its use to its makers, unless this is set before it starts: an
# agent would talk to the internet while latencies are measured. Who sets it decides.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("tierwise")
