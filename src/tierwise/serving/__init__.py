"""Open Inference Protocol (KServe V2): codec, the agent that serves a tier, and its client.

Start reading at :mod:`tierwise.serving.agent` (the process), then :mod:`.inference` (one request
through one stage) and :mod:`.codec` (the bytes).
"""
