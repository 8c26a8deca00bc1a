"""Latency from profiles and links, with its error bounds, and the placements that follow."""
