"""Sphinx configuration: MyST pages, furo, the API from docstrings. Warnings are errors in `make docs`."""

import sys
from pathlib import Path

from pushforward import __version__

sys.path.insert(0, str(Path(__file__).parent))  # the extensions that stand beside this file

project = "pushforward"
author = "The pushforward developers"
copyright = "2026, The pushforward developers"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "dated", "contents"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "pushforward"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["pages.css"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # pages with a kernelspec run when they are built, and show what their cells give
nb_execution_timeout = 300
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = [("Reference", "Reference"), ("Units", "Units")]
napoleon_use_ivar = True
napoleon_use_rtype = False
