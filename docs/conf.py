"""Sphinx's configuration: ``python -m sphinx -W -b html docs build/docs`` builds the pages."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import example_pages
import optimizer_pages

import fastopt

project = "fastopt"
author = "The fastopt developers"
copyright = author
version = release = fastopt.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_design"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
templates_path = ["_templates"]
exclude_patterns = ["_templates"]
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
autodoc_typehints = "none"
html_theme = "pydata_sphinx_theme"
html_title = f"fastopt {version}"
html_static_path = ["_static"]
html_css_files = ["fastopt.css"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2, "header_links_before_dropdown": 5}
html_sidebars = {"index": []}
nitpicky = False


def setup(app):
    """Write the pages of optimizers and examples before anything is read."""
    for name, pages in (("optimizers", optimizer_pages), ("examples", example_pages)):
        app.connect("builder-inited", lambda app, name=name, pages=pages: pages.write(Path(app.srcdir) / name))
