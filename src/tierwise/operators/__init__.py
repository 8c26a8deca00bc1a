"""Training-free transformations of a black-box model: one file an operator."""
