"""One directory a study: its database and its content-addressed artefacts."""
