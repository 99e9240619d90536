"""The report of a density of images: what is measured, and the sections that only images have."""
