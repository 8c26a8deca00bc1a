"""The sections of the study file, a file each: what may stand in them, with defaults."""
