"""Which density suits a table: candidates, each fitted to its rows, and one choice or average by rows not seen."""
