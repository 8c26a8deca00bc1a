"""What holds for every test."""

import signal

from hypothesis import settings

import tierwise  # noqa: F401 - before ONNX Runtime, whose telemetry it switches off

# Tests run two at a time beside other work: how long an example takes says nothing about the code.
settings.register_profile("tierwise", deadline=None)
settings.load_profile("tierwise")

# A shell lets what it starts in the background ignore Ctrl-C, and whoever ignores it hands that on
# to its children: the commands that tests start and interrupt must not ignore it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
