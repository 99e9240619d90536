"""Densities: flows and autoregressive models."""
