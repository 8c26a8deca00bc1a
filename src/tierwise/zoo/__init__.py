"""Subjects that come with the product."""
