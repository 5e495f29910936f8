"""Write the documentation: python tests/make_docs.py [FOLDER], build/docs by default.

pdoc renders the docstrings of what is public, and nothing else.
"""

import importlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pdoc

# geofm.howto is text alone.
PUBLIC = ("geofm", "geofm.plot", "geofm.xarray", "geofm.howto")
# In the order of a person's first day; what is not named here follows, classes last.
ROAD = (
    *("open_scene", "load_model", "Model", "map_scene", "map_batch"),
    *("open_labels", "open_pairs", "open_catalog", "open_dataset", "open_scenes"),
    *("pretrain", "load_encoder", "import_model", "finetune", "save"),
    *("evaluate", "compare", "calibrate", "design_area", "estimate_area"),
)
# What tells the tests that an example is not run, which readers need not know.
NOT_RUN = re.compile(r" *<span class=.c1.>#? *# doctest: \+SKIP</span>| *# doctest: \+SKIP")


def main(folder: Path) -> Path:
    """Write a page a module, and return the first."""
    for name in PUBLIC:
        module = importlib.import_module(name)
        public = ordered(getattr(module, "__all__", ()))
        # pdoc shows what a module holds, and ours load a name when it is first used.
        for each in public:
            setattr(module, each, getattr(module, each))
        if name == "geofm":
            module.__all__ = public
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*PUBLIC, output_directory=folder)
    for page in (*folder.rglob("*.html"), folder / "search.js"):
        page.write_text(NOT_RUN.sub("", page.read_text()))
    return folder / "geofm.html"


def ordered(names: Iterable[str]) -> list[str]:
    """The road, other functions, other classes."""
    shown = [name for name in names if not name.startswith("__")]
    rest = sorted(set(shown) - set(ROAD), key=lambda name: (name[0].isupper(), name))
    return [*(name for name in ROAD if name in shown), *rest]


if __name__ == "__main__":
    print(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/docs")))
