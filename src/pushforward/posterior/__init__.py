"""Flows fitted to densities known up to a constant."""
