"""The report of a model of images."""
