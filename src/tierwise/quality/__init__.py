"""Model performance: task metrics, and agreement with the original where there are no labels."""
