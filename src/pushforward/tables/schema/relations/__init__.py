"""Columns that have no density because they follow from others, one kind of relation in each file."""
