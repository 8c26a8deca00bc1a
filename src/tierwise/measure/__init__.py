"""What a request is, and how requests become samples that can be believed."""
