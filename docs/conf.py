"""Sphinx builds the site: ``python -m sphinx -W --keep-going docs build/site`` (about three minutes from nothing)."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import reference  # noqa: E402

from sslcore._version import __version__  # noqa: E402

reference.write(DOCS / "reference" / "api")

project, author, copyright = "sslcore", "The sslcore developers", "The sslcore developers"
version = release = __version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "measured",
    "reference",
    "synonyms",
]
exclude_patterns = ["_ext"]
nitpicky = True
nitpick_ignore_regex = [
    # types of other libraries, names of parameters, formulas: what begins with sslcore must be there
    (r"py:.*", r"(?!sslcore\.).*"),
    # classes of inner rooms, in the signatures of what is public
    (r"py:class", r"sslcore\.backends\.contract\.Backend"),
    (r"py:class", r"sslcore\.fitting\.data\.Data"),
    (r"py:class", r"sslcore\.io\.sources\.Source"),
    (r"py:class", r"sslcore\.population\.cube_functions\.Eigenfunctions"),
    (r"py:class", r"sslcore\.solvers\.(pencil\.Pencil|sums\.Sums)"),
]
default_role = "py:obj"
suppress_warnings = [
    "ref.python"
]  # a type hint that two modules have a class for, such as `Choice`, links to one of them

autosummary_generate = False  # reference.py writes the pages
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence"]
myst_heading_anchors = 4

sphinx_gallery_conf = {
    "parallel": 2,
    "examples_dirs": ["../examples/gallery"],
    "gallery_dirs": ["examples"],
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", "pictures.style"),
    "doc_module": ("sslcore",),
    "backreferences_dir": "reference/backreferences",
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,  # pages with scripts from other servers
    "capture_repr": (),
    "min_reported_time": 0,
    "download_all_examples": False,
    "show_signature": False,
    "image_srcset": ["2x"],
    "thumbnail_size": (400, 280),
    "within_subsection_order": "FileNameSortKey",
}

html_theme = "pydata_sphinx_theme"
html_title = "sslcore"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_context = {"default_mode": "auto"}  # as the browser has it; without it the theme tells the console of an error
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
}
