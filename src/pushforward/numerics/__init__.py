"""Pure tensor functions: the numerics below transforms and networks."""
