"""Planted data: a story with known reasons behind every click, in memory or streamed to disk, at any size.

planted(config, seed)            -> Planted: a data set and the truth it was made from
generate(out, config, seed)      a data set folder of any size
generate_plain(out, config, seed)  the CSV and TSV files that a user would have
random_world(n_edges, seed)      -> TrainView: edges without a story, for timing

`config` is a `PlantedConfig` or the name of a preset (`PRESETS`: demo, last-fm, amazon-book, yelp2018).
"""

from metakg.generator.config import PRESETS, PlantedConfig, choose, preset
from metakg.generator.folder import generate
from metakg.generator.plain import generate_plain
from metakg.generator.plain_graph import random_world
from metakg.generator.truth import Planted, Taste, Truth, planted

__all__ = [
    "PRESETS",
    "Planted",
    "PlantedConfig",
    "Taste",
    "Truth",
    "choose",
    "generate",
    "generate_plain",
    "planted",
    "preset",
    "random_world",
]
