"""The chosen strategy as files that deploy exactly what was measured."""
