"""Images: files that hold them, and densities of them."""
