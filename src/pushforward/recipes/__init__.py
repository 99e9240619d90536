"""Functions that return a model."""
