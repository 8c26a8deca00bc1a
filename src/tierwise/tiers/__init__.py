"""Places that compute, the links between them, and what runs on this machine to stand for them."""
