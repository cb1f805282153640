"""The site: these pages, the notebooks of docs/tutorials and the docstrings (make docs)."""

from samparser_monai import __version__

project = "samparser_monai"
author = copyright = "samparser_monai maintainers"
release = version = __version__
language = "en"
default_role = "literal"
templates_path = ["_templates"]

extensions = [
    "myst_nb",  # pages in Markdown, notebooks executed
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
highlight_language = "text"  # indented blocks are commands, folders and formats

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"  # progress bars

autosummary_generate = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = "samparser_monai"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "navigation_with_keys": False,
}
html_sidebars = {"index": [], "gallery": []}
