"""Names and ids for everything: people's names are unique among all people, every other name within its kind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from metakg import rng as random
from metakg.data import IdMap, Vocabulary
from metakg.generator.grammar import Grammar, first_words
from metakg.generator.plan import AGE_KIND, TOWN_KIND, USER_RELATIONS, Plan
from metakg.generator.schema import WORK
from metakg.generator.structure import Structure
from metakg.generator.words import AGE_BANDS, CITIES, PEOPLE
from metakg.types import Rows


def build(plan: Plan, structure: Structure, seed: int) -> Vocabulary:
    """Name everything."""
    domain, config = plan.domain, plan.config
    people: set[str] = set()
    user_names = PEOPLE.draw(config.users, random.generator(seed, "names/user"), people)
    titles = _by_family(domain.title, structure.family[structure.styles[WORK]], structure, seed, WORK, set())
    items = _ids(domain.work, config.items, 5)
    entity_ids, entity_labels = [items], [pa.array(titles[: config.items], pa.string())]
    for kind, n in plan.counts.items():
        if kind == domain.unlisted:
            names = titles[config.items :]
        elif kind == domain.style:
            names = _styles(plan, structure, seed)
        elif kind == AGE_KIND:
            names = list(AGE_BANDS)
        elif kind == TOWN_KIND:
            names = list(CITIES[:n])
        else:
            spec = next(k for k in domain.kinds if k.name == kind)
            taken = people if spec.people else set()
            if isinstance(spec.names, Grammar) and spec.ranked:
                names = first_words(spec.names, n)
            elif isinstance(spec.names, Grammar):
                names = spec.names.draw(n, random.generator(seed, f"names/{kind}"), taken)
            else:
                family = structure.family[structure.styles[kind]]
                names = _by_family(spec.names, family, structure, seed, kind, taken)
        entity_ids.append(_ids(kind, n))
        entity_labels.append(pa.array(names, pa.string()))
    relations = {relation.id: relation.label for relation in plan.relations}
    if config.user_facts:
        relations |= USER_RELATIONS
    return Vocabulary(
        IdMap(_ids("user", config.users, 5), pa.array(user_names, pa.string()), kind="user"),
        IdMap(items, entity_labels[0], kind="item"),
        IdMap(pa.concat_arrays(entity_ids), pa.concat_arrays(entity_labels), kind="entity"),
        IdMap(list(relations), list(relations.values()), kind="relation"),
    )


def _ids(prefix: str, n: int, width: int = 3) -> pa.Array:
    width = max(width, len(str(n - 1)))
    return pa.array([f"{prefix}-{number:0{width}d}" for number in range(n)], pa.string())


def _styles(plan: Plan, structure: Structure, seed: int) -> list[str]:
    """Return the families in use, then the sub-styles."""
    rng = random.generator(seed, "names/style")
    subs = {name: rng.permutation(list(plan.domain.styles[name])).tolist() for name in structure.family_names}
    position = np.arange(len(structure.family)) // plan.families
    named = [subs[structure.family_names[f]][p] for f, p in zip(structure.family.tolist(), position.tolist(), strict=True)]
    return [*structure.family_names, *named]


def _by_family(
    grammars: Mapping[str, Grammar], family: Rows, structure: Structure, seed: int, kind: str, taken: set[str]
) -> list[str]:
    """Return names that suit the family of each entity: (n,) family numbers -> n names."""
    names = np.empty(len(family), object)
    for number, name in enumerate(structure.family_names):
        rng = random.generator(seed, f"names/{kind}/{name}")
        members = np.flatnonzero(family == number)
        names[members] = grammars[name].draw(len(members), rng, taken)
    return [str(name) for name in names]
