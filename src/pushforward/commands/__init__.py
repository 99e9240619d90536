"""What each command of the shell does. ``shell/`` holds their arguments and help texts, and imports these on demand."""
