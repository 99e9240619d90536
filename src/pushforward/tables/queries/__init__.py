"""Questions about the rows of a table: one way to ask, :class:`~.query.Query`, and the verbs that ask it."""
