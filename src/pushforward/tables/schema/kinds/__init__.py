"""The kinds of columns, one in each file: which values there are, and how a model sees them."""
