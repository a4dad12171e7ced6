"""`evaluate`: adapt to each scenario of a split, rank every item, judge the lists.

A recommender lives in its own rows, and adapting adds to them. So everything that comes from the split is translated through
ids for each scenario, and nothing but those ids and the judged lists passes between the two.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from scipy import sparse

from metakg import heap
from metakg.data import IdMap, Interactions, Scenario, Split, TrainView
from metakg.data.ids import place_by_id
from metakg.errors import DataError
from metakg.evaluation import leakage, metrics
from metakg.evaluation.ranking import Lots, rank
from metakg.evaluation.result import MASK, CandidateRule, Evaluation, MaskRule, ScenarioResult
from metakg.models.base import Recommender
from metakg.splits.leakage import refuse
from metakg.types import Rows

_SHOWN = 5


Shots = int | Literal["all"] | None
"""How many support pairs of a user (of an item, where items are cold) are revealed; None is the scenario's own rule."""


class HoldsRecommender(Protocol):
    """Something with a recommender inside, such as `metakg.engine.Engine`."""

    recommender: Recommender


def evaluate(
    recommender: Recommender | HoldsRecommender,
    split: Split,
    *,
    scenarios: Literal["all"] | Sequence[str] = "all",
    k: int | Sequence[int] = 20,
    metric_names: Sequence[str] = tuple(metrics.METRICS),
    mask: MaskRule | None = None,
    candidates: CandidateRule = "all",
    shots: Shots | Sequence[Shots] = None,
    adapt: bool = True,
    model: str | None = None,
    seed: int | None = None,
    block: int | None = None,
) -> Evaluation:
    """Judge a fitted recommender in the scenarios of a split.

    For each scenario, starting from the same recommender: adapt it to the revealed support, rank all items for every user
    with a query, and compare the lists with the queries. Nobody but this function looks at a query. Equal scores stand in an
    order drawn by lot for each user, which depends on his id and those of the items and is the same for all models.

    Args:
        recommender: fitted on `split.train`.
        split: the data, cut.
        scenarios: names, or "all".
        k: one or more cut-offs.
        metric_names: keys of `metakg.evaluation.metrics.METRICS`.
        mask: what is left out of a user's list: his items in the scenario's support and in training ("support+train", the
            default), or those of the support alone ("support", as the authors' code does; the floors and `metakg` leave what
            he has clicked out by themselves all the same, so it compares them with no other). The whole support is left out
            at every number of shots, so that all points of a k-shot curve rank the same items.
        candidates: rank all items, or only those that can be right in the scenario.
        shots: how many support pairs are revealed, or "all"; each number gives one result. None is the scenario's own rule.
        adapt: whether the recommender may learn from the support; without it, it must know all users and items already.
        model: name in tables; the registry name by default.
        seed: the seed that the recommender was fitted with, for the table.
        block: users scored at a time (see `rank`).

    Raises:
        LeakageError: a query pair is visible in the split, to the recommender, or to the adapted recommender.
        DataError: the scenario is unknown or empty, or the recommender lacks a user or an item that must be ranked.
        TrainingError: a score is not finite.
    """
    if not isinstance(split, Split):
        raise TypeError(f"a recommender is judged on a split, as metakg.split(data) makes it; not on a {type(split).__name__}")
    fitted = recommender if isinstance(recommender, Recommender) else recommender.recommender
    names = check_rules(split, scenarios, mask, candidates)
    ks = sorted({k} if isinstance(k, int) else set(k))
    if not ks or ks[0] < 1:
        raise ValueError(f"k is one or more positive cut-offs, not {k}")
    rule: MaskRule = mask or MASK
    metrics.check_names(metric_names)
    kind = fitted.config.kind
    refuse(split)
    leakage.check_view(split, names, fitted.view, f"the training view of {kind}")
    judge = _Judge(split, ks, tuple(metric_names), rule, candidates, adapt, block)
    asked: list[Any] = [shots] if shots is None or isinstance(shots, int | str) else list(shots)
    for number in asked:
        if number not in (None, "all") and not (isinstance(number, int | np.integer) and number >= 0):
            raise ValueError(f"shots are numbers from 0, 'all', or None for the scenario's own rule, not {number!r}")
    with heap.kept():
        results = tuple(
            judge.scenario(fitted, name, number) for name in names for number in _numbers_of_shots(split.scenarios[name], asked)
        )
    return Evaluation(model or kind, split.protocol, seed, rule, candidates, results)


@dataclass(frozen=True, eq=False)
class _Judge:
    """The settings of one evaluation, and the judging of one scenario under them."""

    split: Split
    ks: list[int]
    names: tuple[str, ...]
    mask: MaskRule
    candidates: CandidateRule
    adapt: bool
    block: int | None

    def scenario(self, fitted: Recommender, name: str, shots: int | None) -> ScenarioResult:
        scenario, v = self.split.scenarios[name], self.split.dataset.vocabulary
        start_s = time.perf_counter()
        recommender = fitted.adapt(self.split.support(name, shots)) if self.adapt else fitted
        adapt_s = time.perf_counter() - start_s
        view = recommender.view
        if recommender is not fitted:
            leakage.check_view(self.split, [name], view, f"what {fitted.config.kind} knows after adapting")

        start_s = time.perf_counter()
        users, query = scenario.users, scenario.query
        rows = _known(view.vocabulary.users, v.users, users, name)
        answers = _known(view.vocabulary.items, v.items, query.items, name)
        only = None
        if self.candidates == "scenario":
            only = _known(view.vocabulary.items, v.items, scenario.candidates, name)
        lots = Lots(place_by_id(v.users)[users], place_by_id(view.vocabulary.items))  # by ids, whatever the order of the files
        masked = self._masked(name, view)
        ranked = rank(recommender, rows, max(self.ks), masked, candidates=only, lots=lots, block=self.block)
        hits, relevant = metrics.find_hits(ranked.items, _place(query.users, users), answers)
        values = metrics.compute(hits, relevant, self.ks, self.names)
        n_ranked = view.n_items if only is None else len(np.unique(only))
        coverage = {k: len(np.unique(shown[shown >= 0])) / n_ranked for k in self.ks for shown in [ranked.items[:, :k]]}
        rank_s = time.perf_counter() - start_s

        revealed = scenario.revealed(shots)
        theirs = np.isin(revealed.users, users)
        return ScenarioResult(
            scenario=name,
            shots=shots,
            users=v.users.take(users),
            hits=hits,
            values=values,
            relevant=relevant,
            revealed=np.bincount(_place(revealed.users[theirs], users), minlength=len(users)),
            tied=ranked.tied,
            coverage=coverage,
            n_ranked=n_ranked,
            adapt_s=adapt_s,
            rank_s=rank_s,
        )

    def _masked(self, name: str, view: TrainView) -> sparse.csr_array:
        """Return what is never shown: (B, I of the view) with an entry for each user's support (and training) item."""
        scenario, v = self.split.scenarios[name], self.split.dataset.vocabulary
        hidden = scenario.support
        if self.mask == "support+train":
            hidden = Interactions.concat(hidden.pairs_only(), self.split.pairs.pairs_only())
        hidden = hidden.select(np.isin(hidden.users, scenario.users))
        items = view.vocabulary.items.rows(v.items.array)[hidden.items]
        known = items >= 0  # what the model does not know it cannot show
        pairs = Interactions(_place(hidden.users[known], scenario.users), items[known])
        return pairs.csr(len(scenario.users), view.n_items)


def check_rules(
    split: Split, scenarios: Literal["all"] | Sequence[str], mask: str | None = None, candidates: str = "all"
) -> list[str]:
    """Return the names of the scenarios asked for; whoever fits first asks this before the work.

    Raises:
        DataError: a scenario is unknown or empty.
        ValueError: a rule is unknown.
    """
    if mask not in (None, "support", "support+train") or candidates not in ("all", "scenario"):
        raise ValueError(f"mask is 'support' or 'support+train', candidates 'all' or 'scenario', not {mask!r}, {candidates!r}")
    return _scenario_names(split, scenarios)


def _scenario_names(split: Split, scenarios: Literal["all"] | Sequence[str]) -> list[str]:
    names = list(split.scenarios) if scenarios == "all" else [scenarios] if isinstance(scenarios, str) else list(scenarios)
    for name in names:
        if name not in split.scenarios:
            raise DataError(
                f"scenario {name!r}",
                "no such scenario in this split",
                expected=f"one of {', '.join(split.scenarios)}",
                fix="Check the spelling, or cut the split again.",
            )
        if not len(split.scenarios[name].query):
            raise DataError(
                f"scenario {name!r}",
                "no query pairs",
                expected="somebody to judge",
                fix="Lower the thresholds of the split, or leave this scenario out.",
            )
    return list(dict.fromkeys(names))


def _numbers_of_shots(scenario: Scenario, asked: Sequence[Shots]) -> list[int | None]:
    """Return the different numbers of shots to judge; a scenario that reveals nothing is judged once."""
    if not len(scenario.support):
        return [None]
    numbers = {"all": None if scenario.default_shots is None else scenario.most_shots, None: scenario.default_shots}
    return list(dict.fromkeys(numbers[number] if number in (None, "all") else int(number) for number in asked))


def _known(ids: IdMap, outside: IdMap, rows: Rows, name: str) -> Rows:
    """Translate rows of the data set into those of the model: (n,) -> (n,).

    Raises:
        DataError: the model does not know one of them.
    """
    found = ids.rows(outside.array)[rows]
    if (found < 0).any():
        missing = np.unique(rows[found < 0])
        named = ", ".join(repr(text) for text in outside.ids(missing[:_SHOWN].astype(np.int32)))
        raise DataError(
            f"scenario {name}",
            f"{len(missing):,} {ids.kind}s that the model does not know: {named}{', ...' if len(missing) > _SHOWN else ''}",
            expected=f"every {ids.kind} that must be ranked to have a row after adapting",
            fix="Let the model adapt (adapt=True); its view must be `view.extend(support)`.",
        )
    return found


def _place(rows: Rows, among: Rows) -> Rows:
    """Return the position of each row in an ascending list that holds it: (n,), (B,) -> (n,)."""
    return np.searchsorted(among, rows).astype(np.int32)
