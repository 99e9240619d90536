"""Tables: what their columns are, files that hold them, and densities of their rows."""
