"""Configuration of the documentation site: Sphinx with MyST and furo, built by `make docs`."""

project = "stlight_jax"
project_copyright = "the authors of stlight_jax, under the Apache License 2.0"
html_title = "stlight_jax"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False  # Docstrings have shapes and units in single backticks, which are no references.
suppress_warnings = ["misc.highlighting_failure"]

# Anchors of headings are those of repository browsers, so that links work in both.
myst_heading_anchors = 4

html_theme = "furo"
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
