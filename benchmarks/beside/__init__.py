"""What Tierwise is compared with, and on which models."""
