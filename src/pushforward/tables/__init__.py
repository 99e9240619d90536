"""Tables: what their columns hold, the files that store them, and densities of their rows."""
