"""``python -m pushforward``: the shell program."""

import sys

from .cli.app import main

sys.exit(main())
