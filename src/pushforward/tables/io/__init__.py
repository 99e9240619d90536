"""Tables in storage: files of every format, databases and pipes, read and written, whole or in pieces."""
