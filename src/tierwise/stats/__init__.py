"""Statistics of samples. Pure NumPy and SciPy; knows nothing of ONNX."""
