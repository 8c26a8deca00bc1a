"""Inference sessions: the only place that opens them."""
