"""Training: one loop, resumable state."""
