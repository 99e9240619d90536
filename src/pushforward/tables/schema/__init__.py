"""What a table's columns hold."""
