"""What each command of the shell does. ``cli.py`` holds their arguments and help texts, and imports these on demand."""
