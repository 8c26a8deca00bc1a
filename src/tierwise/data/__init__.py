"""Inputs: where they come from, how they are pre-processed, and which may be used for what."""
