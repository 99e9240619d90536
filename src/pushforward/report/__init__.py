"""The report of a fitted model: one HTML file whose sections, registered in one list, draw on one kind of evidence."""
