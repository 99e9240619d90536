"""Sphinx configuration: MyST pages, furo, the API from docstrings. Warnings are errors in `make docs`."""

from pushforward import __version__

project = "pushforward"
author = "The pushforward developers"
copyright = "2026, The pushforward developers"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "pushforward"

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
