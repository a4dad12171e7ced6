"""Planted data as the plain files that a user would have: what the readers read, and what the docs start from.

interactions.csv   user_id, item_id, timestamp (UTC seconds)
triples.tsv        head_id, relation_id, tail_id; an item's id stands for the item
items.csv          item_id, title
users.csv          user_id, name [, age, town]
names.csv          kind, id, label: readable names of entities and relations
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from metakg import files
from metakg.generator import clicks, world
from metakg.generator.config import PlantedConfig, preset
from metakg.generator.folder import OnProgress, blocks, summary
from metakg.generator.world import World
from metakg.types import Json


def generate_plain(
    out: Path | str, config: PlantedConfig | str = "demo", seed: int = 1, *, progress: OnProgress | None = None
) -> Json:
    """Write planted data as plain text files; the same data that `generate` writes as a data set folder.

    Args:
        out: a new or empty folder.
        config: settings, or the name of a preset.
        seed: the one number all of it comes from.
        progress: told how far it is.

    Returns:
        What was made, see `generate`.

    Raises:
        ConfigError: there is no such preset, or the numbers do not agree.
        DataError: the folder is not empty, or cannot be written.
    """
    made = world.build(preset(config) if isinstance(config, str) else config, seed)
    v, noise = made.vocabulary, 0
    with files.atomic_folder(Path(out)) as folder:
        schema = pa.schema([("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64())])
        with pc.CSVWriter(folder / "interactions.csv", schema, write_options=_style(",")) as sink:
            for block in blocks(made, progress):
                noise += int(np.count_nonzero(block.topics == clicks.NOISE))
                columns = [v.users.take(block.users), v.items.take(block.items), block.times + made.origin_s]
                sink.write_table(pa.table(columns, schema=schema))
        facts = made.graph.entity
        triples = {
            "head_id": v.entities.take(facts.heads),
            "relation_id": v.relations.take(facts.relations),
            "tail_id": v.entities.take(facts.tails),
        }
        _write(folder / "triples.tsv", triples, "\t")
        _write(folder / "items.csv", {"item_id": v.items.array, "title": v.items.labels})
        _write(folder / "users.csv", {"user_id": v.users.array, "name": v.users.labels, **_about_users(made)})
        _write(folder / "names.csv", _names(made))
    return summary(made, noise)


def _about_users(made: World) -> dict[str, pa.Array]:
    """Return the facts about users as two columns of words, one row a user."""
    facts, n = made.graph.user, made.config.users
    labels = made.vocabulary.entities.labels
    assert labels is not None
    if not len(facts):
        return {}
    return {"age": labels.take(pa.array(facts.tails[:n])), "town": labels.take(pa.array(facts.tails[n:]))}


def _names(made: World) -> dict[str, pa.Array]:
    v, n_items = made.vocabulary, made.config.items
    entities, entity_labels, relation_labels = v.entities.array[n_items:], v.entities.labels, v.relations.labels
    assert entity_labels is not None
    assert relation_labels is not None
    kind = pa.array(["entity"] * len(entities) + ["relation"] * len(v.relations), pa.string())
    return {
        "kind": kind,
        "id": pa.concat_arrays([entities, v.relations.array]),
        "label": pa.concat_arrays([entity_labels[n_items:], relation_labels]),
    }


def _write(path: Path, columns: Mapping[str, object], delimiter: str = ",") -> None:
    pc.write_csv(pa.table(dict(columns)), path, write_options=_style(delimiter))


def _style(delimiter: str) -> pc.WriteOptions:
    return pc.WriteOptions(delimiter=delimiter, quoting_style="needed")
