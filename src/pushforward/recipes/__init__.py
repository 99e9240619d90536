"""Functions that return a flow."""
