"""Random runs of what a service of the toy bookshop is told. Needs the extra `serve`."""

from __future__ import annotations

import numpy as np

from metakg.store import Draft

ITEMS = [f"i{n:02d}" for n in range(12)] + ["n0", "n1", "n2"]
USERS = ["ann", "ben", "hal", "new", "old"]
ENTITIES = ["e0", "e1", "e3", "e4", "e99"]


def drafts(rng: np.random.Generator, count: int) -> list[Draft]:
    """Return a random run of everything that can happen."""
    made: list[Draft] = []
    for _ in range(count):
        kind = rng.choice(
            ["like", "like", "click", "dislike", "undo", "user", "forget", "item", "drop-item", "facts", "drop-facts"]
        )
        user, item, entity = str(rng.choice(USERS)), str(rng.choice(ITEMS)), str(rng.choice(ENTITIES))
        relation = str(rng.choice(["written_by", "genre", "brand_new"]))
        if kind in ("like", "click", "dislike", "undo"):
            made.append(Draft(kind, user, item))
        elif kind == "user":
            end = entity if rng.random() < 0.5 else item
            made.append(Draft("user", user, body={"label": f"User {user}", "facts": [["at_home_in", end]]}))
        elif kind == "forget":
            made.append(Draft("forget", user))
        elif kind == "item":
            link = None if rng.random() < 0.7 else f"node-{rng.integers(3)}"
            body = {"label": f"Item {item}", "entity": link, "facts": [[relation, entity, f"Name of {entity}"]]}
            made.append(Draft("item", item=item, body=body))
        elif kind == "drop-item":
            made.append(Draft("drop-item", item=item))
        else:
            head = f"e:{item}" if item.startswith("i") and rng.random() < 0.5 else item
            made.append(Draft(kind, body={"triples": [[head, relation, entity]]}))
    return made
