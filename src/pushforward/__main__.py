"""``python -m pushforward``: the shell program."""

import sys

from .cli import main

sys.exit(main())
