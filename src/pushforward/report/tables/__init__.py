"""The report of a density of rows: what is measured, and the sections that only rows have."""
