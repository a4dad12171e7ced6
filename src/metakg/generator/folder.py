"""Planted data of any size on disk: the graph and the users are held in memory, the clicks pass through in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metakg import files
from metakg.data import tables
from metakg.data.dataset import write_manifest
from metakg.data.ids import IdMap
from metakg.generator import clicks, world
from metakg.generator.clicks import Clicks
from metakg.generator.config import PlantedConfig, preset
from metakg.generator.truth import reasons, truth_of
from metakg.generator.world import World
from metakg.types import Json

OnProgress = Callable[[int, int], None]
"""Called with the interactions written so far and their total."""

_INTERACTIONS = pa.schema([("user", pa.int32()), ("item", pa.int32()), ("time_s", pa.int64())])
_REASONS = pa.schema([("relation", pa.int32()), ("entity", pa.int32())])


def generate(
    out: Path | str,
    config: PlantedConfig | str = "demo",
    seed: int = 1,
    *,
    overwrite: bool = False,
    truth: bool = False,
    progress: OnProgress | None = None,
) -> Json:
    """Write planted data as a data set folder (format 1), in memory that does not grow with the interactions.

    The tables are those of `planted` with the same settings and seed.

    Args:
        out: the folder.
        config: settings, or the name of a preset.
        seed: the one number all of it comes from; the same seed gives the same bytes.
        overwrite: replace an earlier result.
        truth: also write `truth/tastes.parquet` (user, relation, entity, weight) and `truth/reasons.parquet` (relation,
            entity; one row for each interaction, -1 for noise). No command reads them.
        progress: told how far it is.

    Returns:
        What was made: counts, share of noise, settings.

    Raises:
        ConfigError: there is no such preset, or the numbers do not agree.
        DataError: the folder exists (and `overwrite` is off), or cannot be written.
    """
    made = world.build(preset(config) if isinstance(config, str) else config, seed)
    noise = 0
    with files.atomic_folder(Path(out), overwrite=overwrite, kind="dataset") as temporary:
        _write_nouns(temporary, made)
        with ExitStack() as open_files:
            sink = open_files.enter_context(_writer(temporary / "interactions.parquet", _INTERACTIONS))
            why = None
            if truth:
                (temporary / "truth").mkdir()
                _write_tastes(temporary / "truth", made)
                why = open_files.enter_context(_writer(temporary / "truth" / "reasons.parquet", _REASONS))
            for block in blocks(made, progress):
                noise += int(np.count_nonzero(block.topics == clicks.NOISE))
                columns = [block.users, block.items, block.times + made.origin_s]
                sink.write_table(pa.table(columns, schema=_INTERACTIONS))
                if why is not None:
                    why.write_table(pa.table(list(reasons(made, block)), schema=_REASONS))
        write_manifest(temporary, made.manifest())
    return summary(made, noise)


def blocks(made: World, progress: OnProgress | None = None) -> Iterator[Clicks]:
    """Yield the clicks of some users after the others'."""
    fans = clicks.first_fans(made)
    done = 0
    for first, end in made.blocks():
        block = clicks.of_users(made, fans, first, end)
        yield block
        done += len(block)
        if progress is not None:
            progress(done, made.config.interactions)


def summary(made: World, noise: int) -> Json:
    """Return what was made, for people and for `--json`."""
    v, n = made.vocabulary, made.config.interactions
    return {
        "users": v.n_users,
        "items": v.n_items,
        "entities": v.n_entities,
        "relations": v.n_relations,
        "interactions": n,
        "triples": len(made.graph.entity),
        "user_triples": len(made.graph.user),
        "noise": noise / n,
        **made.manifest(),
    }


def _write_nouns(folder: Path, made: World) -> None:
    v = made.vocabulary
    for name in ("users", "items", "entities", "relations"):
        ids: IdMap = getattr(v, name)
        tables.write(folder, name, {"id": ids.array, "label": ids.labels})
    for name, triples in (("triples", made.graph.entity), ("user_triples", made.graph.user)):
        tables.write(folder, name, {"head": triples.heads, "relation": triples.relations, "tail": triples.tails})


def _write_tastes(folder: Path, made: World) -> None:
    truth = truth_of(made, Clicks.concat([]))
    columns = {
        "user": truth.taste_users,
        "relation": truth.taste_relations,
        "entity": truth.taste_entities,
        "weight": truth.taste_weights,
    }
    tables.write(folder, "tastes", columns)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd")
