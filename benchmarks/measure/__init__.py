"""What the benchmarks share: models of every library at one size, a fair clock, counts of operations, result files."""
