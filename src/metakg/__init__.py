"""metakg: recommend from the first click, with a knowledge graph, and say why.

    data   = metakg.read(interactions="clicks.parquet", triples="kg.tsv")
    split  = metakg.split(data, protocol="strict", seed=1)
    rec    = metakg.fit("blend", split.train, seed=1)
    table  = metakg.evaluate(rec, split, k=20)
    rec2   = rec.adapt(user="u-new", liked=["i7", "i9"])
    rec2.recommend("u-new", k=10); rec2.explain("u-new", "i42"); rec.save("bundle/"); metakg.load("bundle/")

External ids everywhere. Names are loaded on first use, so `import metakg` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from metakg.comparison import compare
    from metakg.data import Dataset, Support
    from metakg.engine import Engine, fit, load
    from metakg.errors import MetakgError
    from metakg.evaluation import evaluate
    from metakg.generator import generate
    from metakg.readers import read, read_atomic, read_kgat, read_rdf
    from metakg.splits import split, whole

_HOME = {
    "Dataset": "metakg.data",
    "Engine": "metakg.engine",
    "MetakgError": "metakg.errors",
    "Support": "metakg.data",
    "compare": "metakg.comparison",
    "evaluate": "metakg.evaluation",
    "fit": "metakg.engine",
    "generate": "metakg.generator",
    "load": "metakg.engine",
    "read": "metakg.readers",
    "read_atomic": "metakg.readers",
    "read_kgat": "metakg.readers",
    "read_rdf": "metakg.readers",
    "split": "metakg.splits",
    "whole": "metakg.splits",
}

__all__ = [
    "Dataset",
    "Engine",
    "MetakgError",
    "Support",
    "__version__",
    "compare",
    "evaluate",
    "fit",
    "generate",
    "load",
    "read",
    "read_atomic",
    "read_kgat",
    "read_rdf",
    "split",
    "whole",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'metakg' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
