"""ONNX graphs as structure: blocks, cuts, costs and rewrites. Runs nothing."""
