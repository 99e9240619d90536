"""Arguments and help texts of the shell's commands; what each does is in ``commands/``, imported when it runs."""
