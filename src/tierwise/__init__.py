"""Find, prove and ship the best way to deploy a black-box ONNX model.

The folders are the architecture, and imports go downward only; ``docs/design.md``
draws the house and the way of the data through it.
"""

import os
from importlib.metadata import version

# ONNX Runtime's released builds (since 1.29 on Linux and macOS) report every model that they load,
# with its file's name and its structure, to its makers, unless this is set before it is imported.
# Whose model it is decides: set to 0 beforehand, it stays 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = version("tierwise")
