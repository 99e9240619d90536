"""Code shared by the benchmarks: models of every library at one size, a fair clock, operation counts, result files."""
