"""Models as files: a description in JSON and tensors, never a pickle."""
