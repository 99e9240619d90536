"""What the densities of tables and of images have in common: training, saving, reporting, comparing."""
