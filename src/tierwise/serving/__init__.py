"""The Open Inference Protocol: codec, the agent that serves a tier, and its client."""
