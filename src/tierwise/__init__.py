"""Find, prove and ship the best way to deploy a black-box ONNX model.

The folders are the architecture, and imports go downward only; ``docs/design.md``
draws the house and the way of the data through it.
"""

from importlib.metadata import version

__version__ = version("tierwise")
