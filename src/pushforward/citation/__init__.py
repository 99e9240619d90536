"""The papers behind the parts of a model."""
