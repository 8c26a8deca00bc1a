"""What holds for every test."""

from hypothesis import settings

# Tests run two at a time beside other work: how long an example takes says nothing about the code.
settings.register_profile("tierwise", deadline=None)
settings.load_profile("tierwise")
