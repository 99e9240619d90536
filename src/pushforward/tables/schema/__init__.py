"""What a table's columns are."""
