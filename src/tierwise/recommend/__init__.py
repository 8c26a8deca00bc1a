"""Requirements, the Pareto front, and the verdict with its reasons. Never measures."""
