"""`Engine`: the side of a fitted recommender that faces people and services. External ids in, external ids out.

An engine is a fitted recommender (the base) and an overlay of what each user did since. A click changes the overlay alone: in
time that depends on this user's clicks only, the same in whatever order they come, undone by `forget`, and without a trace in
anybody else's answers. New items, entities and facts change the base (`adapt(support=...)`), and the overlay stays beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from metakg.data import KnowledgeGraph, Support, TrainView, Vocabulary
from metakg.engine.answers import (
    Answer,
    Asked,
    ProfileAnswers,
    diversify,
    refuse,
)
from metakg.engine.base import FORGOTTEN, Base, relabelled, without_users
from metakg.engine.overlay import Clicks, Counted, Overlay, ids_of, several
from metakg.engine.results import Fact, Found, Kind, Reached, Recommendation
from metakg.errors import ConfigError, DataError
from metakg.explain import Explanation, Way, in_words, part_lost
from metakg.explain import Path as ReasonPath
from metakg.models.base import Recommender
from metakg.models.profile import ProfileRecommender
from metakg.models.reasons import Cut
from metakg.types import Floats, Json, Mask, Rows

REFUSAL = 0.5
"""What the closest neighbour of a refused item loses, as a share of the distance from the middle of a list to its best: half,
so that somebody who likes a band and refuses one of its songs still gets the band, but not first."""

_POOL = 4
"""A diverse list is chosen from so many times as many candidates."""


class Engine:
    """A fitted recommender over external ids. Immutable: every change returns a new engine.

    Args:
        recommender: the base.
        settings: resolved settings of the model and its training, and the seed; kept with every bundle.
        overlay: what each user did since training.
        removed: external ids of items that are never shown or used again.
        arrived: clicks that came in by a `Support`, by user, so that `forget` can undo them.
        figures: rows of an evaluation that travel with the bundle.
    """

    def __init__(
        self,
        recommender: Recommender,
        settings: Json | None = None,
        *,
        overlay: Overlay | None = None,
        removed: frozenset[str] = frozenset(),
        arrived: dict[str, frozenset[str]] | None = None,
        figures: Sequence[Json] = (),
    ) -> None:
        self.recommender = recommender
        self.settings: Json = settings or {"model": recommender.config.model_dump(mode="json"), "training": None, "seed": 0}
        self.overlay = Overlay() if overlay is None else overlay
        self.removed = removed
        self.arrived = {} if arrived is None else arrived
        self.figures = tuple(figures)
        self._base = Base(recommender)
        self._counted = self._counting()

    def __repr__(self) -> str:
        view, adapted = self.recommender.view, f"{self.n_adapted:,} user{'s' * (self.n_adapted != 1)} adapted"
        return f"Engine({self.model}: {view.vocabulary.sizes()}, {len(view.interactions):,} clicks, {adapted})"

    # -- what it is ------------------------------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """The registry name of the model."""
        return self.recommender.config.kind

    @property
    def explains(self) -> bool:
        """Whether the model can take its scores apart into paths."""
        return isinstance(self.recommender, ProfileRecommender)

    @property
    def counts(self) -> dict[str, int]:
        """How much it knows: users (those who came since included), items, entities, relations, interactions, triples."""
        view = self.recommender.view
        came, liked, _ = self._counted(self.overlay)
        return {
            "users": view.n_users + came - self._base.n_forgotten,
            "items": view.n_items - len(self._removed_rows),
            "entities": view.n_entities,
            "relations": view.n_relations,
            "interactions": len(view.interactions) + liked,
            "triples": len(view.graph.entity) + len(view.graph.user),
        }

    @property
    def adapted(self) -> frozenset[str]:
        """Users who have clicked since training."""
        return frozenset(self.overlay) | frozenset(self.arrived)

    @property
    def n_adapted(self) -> int:
        """How many users have clicked since training."""
        return len(self.overlay) + len(self.arrived) - self._counted(self.overlay)[2]

    def unknown(self, ids: Iterable[str]) -> list[str]:
        """Return those of some item ids that would be ignored: not known (yet), or removed."""
        return [name for name in several(ids, "ids") if self._item(name) is None]

    @property
    def users(self) -> list[str]:
        """External ids of all users it knows: those of training, those who arrived, those who have clicked since."""
        found = self.recommender.view.vocabulary.users.array.to_pylist()
        known = [name for name in found if not name.startswith(FORGOTTEN)] if self._base.n_forgotten else found
        return list(dict.fromkeys([*known, *self.overlay]))

    @property
    def items(self) -> list[str]:
        """External ids of all items that may be shown."""
        return [name for name in self.recommender.view.vocabulary.items.array.to_pylist() if name not in self.removed]

    # -- answers ---------------------------------------------------------------------------------------------------------

    def lists(
        self,
        users: Iterable[str] | None = None,
        k: int = 20,
        *,
        filter_seen: bool = True,
        allow: Collection[str] | None = None,
        deny: Collection[str] = (),
        diversity: float = 0.0,
    ) -> Iterator[tuple[str, list[Recommendation]]]:
        """Yield many users with their lists, one after the other, as `recommend` would give them; by default all `users`.

        For lists that are made ahead (`metakg lists`): a learnt model scores some users at a time, which is faster than one by
        one; nothing else is worked out before it is asked for.
        """
        _check_list(k, diversity)
        shown = None if allow is None else frozenset(several(allow, "allow"))
        hidden = frozenset(several(deny, "deny"))
        names = self.users if users is None else several(users, "users")
        for asked, answer in self._base.answers.answers(self._asked(user, (), ()) for user in names):
            assert asked.user is not None
            yield asked.user, self._best_of(asked, self._less_refused(asked, answer), k, filter_seen, shown, hidden, diversity)

    def recommend(
        self,
        user: str | None = None,
        k: int = 20,
        *,
        liked: Sequence[str] = (),
        disliked: Sequence[str] = (),
        filter_seen: bool = True,
        allow: Collection[str] | None = None,
        deny: Collection[str] = (),
        diversity: float = 0.0,
    ) -> list[Recommendation]:
        """Return the best k items for a user, best first. An unknown user is normal input: the answer says so in `way`.

        Args:
            user: external id; None for somebody without an account.
            k: how many items at most; fewer only if fewer are left.
            liked: items to answer as if he had clicked them too; nothing is kept.
            disliked: items he refuses: never shown, and what is close to them falls (see `refuse`). A refusal overrules a like.
            filter_seen: leave out what he has already clicked; otherwise that comes last, whatever its scores.
            allow: the only items that may be shown; None allows all.
            deny: items that must not be shown.
            diversity: 0 ranks by score alone; up to 1, each item is weighed more and more against its likeness to those before.

        Unknown item ids are ignored everywhere (see `unknown`).
        """
        _check_list(k, diversity)
        asked = self._asked(user, liked, disliked)
        return self._best_of(asked, self._answer(asked), k, filter_seen, allow, deny, diversity)

    def way(self, user: str | None, liked: Sequence[str] = (), disliked: Sequence[str] = ()) -> Way:
        """Return how answers for a user are made."""
        return self._answer(self._asked(user, liked, disliked)).way

    def explain(
        self, user: str | None, item: str, limit: int = 3, *, liked: Sequence[str] = (), disliked: Sequence[str] = ()
    ) -> Explanation:
        """Return the paths that carry most of an item's score for a user (see `recommend` for the arguments).

        What he has clicked himself has none.

        Raises:
            DataError: the item is unknown (an unknown user simply has no path).
            ConfigError: the model cannot take its scores apart (see `explains`).
        """
        _check_count(limit, "limit")
        row, answers = self._known_item(item), self._profile_answers()
        model, asked = answers.recommender, self._asked(user, liked, disliked)
        person = answers.person(asked)
        answer, clicked = answers.answer(asked, person), bool(np.isin(row, person.seen))
        reasons = [] if clicked else model.reasons_for(person, row, limit)
        cut = Cut(edge for reason in reasons for edge in reason.edges)
        raw, scores = answer.scores, self._refused(asked, answer.scores)
        less = raw if not len(cut) else model.score_person(person, cut)[0]
        without = self._refused(asked, less)
        shown = self._may_be_shown(answer, asked, True, None, ())
        shown[row] = True
        return Explanation(
            user,
            item,
            self.recommender.view.vocabulary.items.label(row),
            in_words(self.recommender.view, reasons),
            score=float(scores[row]),
            rank=self._place_of(row, scores, shown),
            score_without=float(without[row]),
            rank_without=self._place_of(row, without, shown),
            way=answer.way if clicked or answer.speaks[row] else "popular",
            clicked=clicked,
            faithfulness=part_lost(float(raw[row]), float(less[row]), model.bare_score(person, row)) if reasons else 0.0,
        )

    def reasons(
        self, user: str | None, items: Iterable[str], limit: int = 3, *, liked: Sequence[str] = (), disliked: Sequence[str] = ()
    ) -> list[tuple[ReasonPath, ...]]:
        """Return the paths of `explain` for each item of a list, without measuring what they carry: a third of the time.

        Raises:
            DataError: an item is unknown.
            ConfigError: the model cannot take its scores apart (see `explains`).
        """
        _check_count(limit, "limit")
        rows, answers = [self._known_item(item) for item in items], self._profile_answers()
        person = answers.person(self._asked(user, liked, disliked))
        model = answers.recommender
        seen = frozenset(person.seen.tolist())
        return [() if row in seen else in_words(model.view, model.reasons_for(person, row, limit)) for row in rows]

    def similar(self, item: str, k: int = 20) -> list[Recommendation]:
        """Return the neighbours of an item, closest first; the closest has score 1. Fewer than k if no more are close.

        Raises:
            DataError: the item is unknown.
        """
        _check_count(k, "k")
        row = self._known_item(item)
        view = self.recommender.view
        close = self._base.answers.closeness(np.array([row], np.int32))
        shown = close > 0
        shown[row] = False
        shown[self._removed_rows] = False
        way: Way = "trained" if view.popularity[row] > 0 else "kg-only"
        answer = Answer(close, shown, self._removed_rows, way)
        v = view.vocabulary
        return [
            Recommendation(v.items.id(i), v.items.label(i), float(close[i]), way) for i in self._best(answer, shown, k).tolist()
        ]

    def reach(self, item: str, k: int = 20) -> list[Reached]:
        """Return the users to whose clicks an item is closest and who have not clicked it, closest first.

        Raises:
            DataError: the item is unknown.
        """
        _check_count(k, "k")
        row = self._known_item(item)
        view = self.recommender.view
        close = self._base.answers.closeness(np.array([row], np.int32))
        close[row] = 0.0
        close[self._removed_rows] = 0.0
        clicks = np.diff(view.history.indptr)
        scores = np.asarray(view.history @ close, np.float64) / np.maximum(clicks, 1)
        scores[view.history[:, [row]].tocoo().row] = 0.0
        v = view.vocabulary
        names, theirs = list(self.overlay), [clicks for _, clicks in self.overlay.items()]
        rows = v.users.rows(names)
        scores[rows[rows >= 0]] = 0.0  # they are asked as they are now, old clicks and new
        found = {v.users.id(u): float(scores[u]) for u in np.argsort(-scores, kind="stable")[:k].tolist() if scores[u] > 0}
        now = self._nearness(rows, theirs, close, row)
        now[np.array([item in clicks.disliked for clicks in theirs], np.bool_)] = 0.0
        best_now = np.argsort(-now, kind="stable")
        least = now[best_now[k - 1]] if k <= len(now) else 0.0
        found |= {names[place]: float(now[place]) for place in np.flatnonzero((now >= least) & (now > 0)).tolist()}
        best = sorted((pair for pair in found.items() if pair[1] > 0), key=lambda pair: (-pair[1], pair[0]))[:k]
        top = best[0][1] if best else 1.0
        return [Reached(user, self._user_label(user), score / top) for user, score in best]

    def _close_among(self, items: Rows) -> Callable[[int], Floats]:
        """Return what tells how close each of some items is to the one at a place among them (see `diversify`)."""
        return lambda place: self._base.answers.closeness(items[[place]])[items]

    def _nearness(self, rows: Rows, theirs: Sequence[Clicks], close: Floats, row: int) -> np.ndarray:
        """Return how close an item is to what each of some users has clicked, old and new, on average: (n,).

        Args:
            rows: (n,) their user rows, -1 for those the view does not know.
            theirs: (n) what they clicked since training.
            close: (I,) closeness of every item to the one in question.
            row: that one; who has clicked it is not asked any more: 0.
        """
        view = self.recommender.view
        items = view.vocabulary.items.rows([item for clicks in theirs for item in clicks.liked])
        owners = np.repeat(np.arange(len(theirs)), [len(clicks.liked) for clicks in theirs])
        usable = (items >= 0) & ~np.isin(items, self._removed_rows)
        places = np.flatnonzero(rows >= 0)
        old = view.history[rows[places]].tocoo()
        pairs = np.concatenate([owners[usable] * view.n_items + items[usable], places[old.row] * view.n_items + old.col])
        owners, items = np.divmod(np.unique(pairs), view.n_items)
        clicks_of = np.bincount(owners, minlength=len(theirs))
        result = np.bincount(owners, close[items], minlength=len(theirs)) / np.maximum(clicks_of, 1)
        result[owners[items == row]] = 0.0
        return result

    # -- what it knows ---------------------------------------------------------------------------------------------------

    def search(self, text: str, limit: int = 10, kind: Kind = "item") -> list[Found]:
        """Return what a few typed letters may mean, popular first.

        Every word of `text` must begin a word of the name (or the id); case and accents do not matter.
        """
        _check_count(limit, "limit")
        rows = self._base.index(kind).find(text)
        ids, popularity = self._base.ids(kind), self._base.popularity(kind)
        if kind == "item" and len(self._removed_rows):
            rows = np.setdiff1d(rows, self._removed_rows)
        rows = rows[np.lexsort((rows, -popularity[rows]))]
        found = (Found(ids.id(row), ids.label(row), int(popularity[row])) for row in rows.tolist())
        result: list[Found] = []
        for entry in found:
            if len(result) == limit:
                break
            if kind != "user" or not entry.id.startswith(FORGOTTEN):
                result.append(entry)
        return result

    def found(self, name: str, kind: Kind = "item") -> Found | None:
        """Return what is known of one id, or None if it is unknown or was removed."""
        row = self._item(name) if kind == "item" else self._base.ids(kind).row(name)
        if row is None:
            clicks = self.overlay[name] if kind == "user" else None
            return Found(name, name, len(clicks.liked)) if clicks else None
        return Found(name, self._base.ids(kind).label(row), int(self._base.popularity(kind)[row]))

    def facts(self, item: str, limit: int = 50) -> list[Fact]:
        """Return the facts about an item, those it heads first.

        Raises:
            DataError: the item is unknown.
        """
        _check_count(limit, "limit")
        row = self._known_item(item)
        v, facts = self.recommender.view.vocabulary, self.recommender.view.graph.entity
        places = [(place, False) for place in facts.of_head(row).tolist()] + [
            (place, True) for place in facts.of_tail(row).tolist()
        ]
        result = []
        for place, inverse in places[:limit]:
            relation, end = int(facts.relations[place]), int((facts.heads if inverse else facts.tails)[place])
            is_item = end < v.n_items
            name = v.items.id(end) if is_item else v.entities.id(end)
            result.append(
                Fact(v.relations.id(relation), v.relations.label(relation), inverse, name, v.entity_label(end), is_item)
            )
        return result

    # -- change ----------------------------------------------------------------------------------------------------------

    def adapt(
        self,
        user: str | None = None,
        liked: Sequence[str] = (),
        disliked: Sequence[str] = (),
        *,
        support: Support | None = None,
    ) -> Engine:
        """Return an engine that has learnt from what arrived; this one stays as it was.

        With a user, his clicks join the overlay: a bounded step that repeats harmlessly, in whatever order, and touches
        nobody else. An item that is unknown so far counts from the moment it arrives. With a `support`, the base is adapted:
        new items, entities and facts come in, and its clicks become evidence for everybody. That takes longer. The overlay
        stays an overlay.

        Args:
            user: external id, known or new.
            liked: external ids of items that the user clicked.
            disliked: external ids of items that he refused; the last word counts.
            support: instead of the three above: what arrived of many.
        """
        if (user is None) == (support is None):
            raise ValueError("give either a user with what he liked, or a support")
        if support is None:
            assert user is not None
            ids_of([user], "user")
            return self._with(overlay=self.overlay.put(user, self.overlay[user].then(liked, disliked)))
        if len(liked) or len(disliked):
            raise ValueError("a support names its own clicks; give no others")
        arrived = dict(self.arrived)
        for name, item, known in zip(support.users.to_pylist(), support.items.to_pylist(), self._knows(support), strict=True):
            if not known:  # what training had before is not to be forgotten with what arrived
                arrived[name] = arrived.get(name, frozenset()) | {item}
        named = set(support.arrivals["item"].to_pylist()) | set(support.items.to_pylist())
        return self._with(recommender=self.recommender.adapt(support), removed=self.removed - frozenset(named), arrived=arrived)

    def forget(self, user: str, *, everywhere: bool = False) -> Engine:
        """Return an engine in which what a user did since training never happened; without anything to forget, this one.

        Args:
            user: external id.
            everywhere: also take away his clicks in training, the facts about him, and his id. Closed forms follow at once;
                what a learnt model drew from his clicks stays in its shared weights until the next training, but nothing
                leads to him.
        """
        ids_of([user], "user")
        if everywhere:
            return self.without(users=[user])
        engine = self._with(overlay=self.overlay.put(user, Clicks())) if self.overlay[user] else self
        if user in self.arrived:
            view = self.recommender.view
            pairs, row = view.interactions, view.vocabulary.users.row(user)
            assert row is not None, "who clicked has a row"
            lost = (pairs.users == row) & np.isin(pairs.items, view.vocabulary.items.rows(sorted(self.arrived[user])))
            arrived = {name: items for name, items in self.arrived.items() if name != user}
            less = TrainView(view.vocabulary, pairs.select(~lost).pairs_only(), view.graph)
            engine = engine._with(recommender=self.recommender.over(less), arrived=arrived)
        return engine

    def without(self, *, users: Iterable[str] = (), items: Iterable[str] = ()) -> Engine:
        """Return an engine without some users and items: `forget` everywhere and `remove_item` for all of them in one step."""
        view, named = self.recommender.view, list(dict.fromkeys(several(users, "users")))
        v, pairs, facts, about = view.vocabulary, view.interactions, view.graph.entity, view.graph.user
        overlay = self.overlay
        for user in named:
            overlay = overlay.put(user, Clicks())
        of_users = np.array([row for user in named if (row := v.users.row(user)) is not None], np.int32)
        gone = {item: row for item in several(items, "items") if (row := self._item(item)) is not None}
        if not len(of_users) and not gone:
            return self if overlay is self.overlay else self._with(overlay=overlay)
        of_items = np.array(list(gone.values()), np.int32)
        kept = ~(np.isin(pairs.users, of_users) | np.isin(pairs.items, of_items))
        if gone:
            facts = facts.select(~(np.isin(facts.heads, of_items) | np.isin(facts.tails, of_items)))
            about = about.select(~np.isin(about.tails, of_items))
        if len(of_users):
            about = about.select(~np.isin(about.heads, of_users))
            v = without_users(v, of_users)
        less = TrainView(v, pairs.select(kept).pairs_only(), KnowledgeGraph(facts, about))
        forgotten = frozenset(named)
        return self._with(
            recommender=self.recommender.over(less),
            overlay=overlay,
            removed=self.removed | gone.keys(),
            arrived={name: theirs for name, theirs in self.arrived.items() if name not in forgotten},
        )

    def withdraw(self, user: str, items: Iterable[str]) -> Engine:
        """Return an engine in which a user neither liked nor refused these items since training; his other clicks stay."""
        clicks = self.overlay[user]
        for item in ids_of(items, "items"):
            clicks = clicks.without(item)
        return self._with(overlay=self.overlay.put(user, clicks))

    def remove_item(self, item: str) -> Engine:
        """Return an engine that never shows or uses an item again; an unknown one changes nothing.

        Its clicks and facts are taken away, so it is nobody's reason any more. A support that names it brings it back as a new
        item, with the facts told then: to hide what is only out of stock, `deny` it.
        """
        return self.without(items=[item])

    def remove_facts(self, facts: Iterable[tuple[str, str, str]]) -> Engine:
        """Return an engine without these facts, given as (head, relation, tail) ids of entities; unknown ones do nothing."""
        view = self.recommender.view
        v, entity = view.vocabulary, view.graph.entity
        asked = {(v.entities.row(head), v.relations.row(relation), v.entities.row(tail)) for head, relation, tail in facts}
        heads = [head for head, _, _ in asked if head is not None]
        near = np.flatnonzero(np.isin(entity.heads, heads))  # one look at all facts, however many are asked for
        columns = (column[near].tolist() for column in (entity.heads, entity.relations, entity.tails))
        lost = np.zeros(len(entity), np.bool_)
        lost[near] = [fact in asked for fact in zip(*columns, strict=True)]
        if not lost.any():
            return self
        less = TrainView(v, view.interactions.pairs_only(), KnowledgeGraph(entity.select(~lost), view.graph.user))
        return self._with(recommender=self.recommender.over(less))

    def rename(
        self,
        *,
        items: Mapping[str, str] | None = None,
        entities: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
    ) -> Engine:
        """Return an engine in which these ids have these labels; unknown ids are ignored. An item's node takes its label."""
        view = self.recommender.view
        v, of_items = view.vocabulary, items or {}
        nodes = {v.entities.id(row): label for name, label in of_items.items() if (row := v.items.row(name)) is not None}
        named = Vocabulary(
            relabelled(v.users, users or {}),
            relabelled(v.items, of_items),
            relabelled(v.entities, {**nodes, **(entities or {})}),
            v.relations,
        )
        if named.users is v.users and named.items is v.items and named.entities is v.entities:
            return self
        return self._with(recommender=self.recommender.over(TrainView(named, view.interactions.pairs_only(), view.graph)))

    def with_figures(self, rows: Iterable[Json]) -> Engine:
        """Return an engine that carries the rows of an evaluation (`Evaluation.rows`), for those who ask how good it is."""
        made = self._with()
        made.figures = tuple(rows)
        return made

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write everything needed to recommend, adapt and explain as a bundle folder (see `metakg.load`)."""
        from metakg import bundle

        state = bundle.State(tuple(sorted(self._clicks())), tuple(sorted(self.removed)), self.figures)
        bundle.save(self.recommender, self.settings, state, Path(folder), overwrite=overwrite)

    # -- inside ----------------------------------------------------------------------------------------------------------

    def _with(
        self,
        *,
        recommender: Recommender | None = None,
        overlay: Overlay | None = None,
        removed: frozenset[str] | None = None,
        arrived: dict[str, frozenset[str]] | None = None,
    ) -> Engine:
        made = Engine.__new__(Engine)
        made.recommender = self.recommender if recommender is None else recommender
        made.settings, made.figures = self.settings, self.figures
        made.overlay = self.overlay if overlay is None else overlay
        made.removed = self.removed if removed is None else removed
        made.arrived = self.arrived if arrived is None else arrived
        made._base = self._base if recommender is None else Base(recommender, self._base)
        made._counted = self._counted if recommender is None and arrived is None else made._counting()
        return made

    def _counting(self) -> Counted:
        """Return what counts an overlay: users the view does not know, clicks, and users who clicked by a `Support` too."""
        users, arrived = self.recommender.view.vocabulary.users, self.arrived
        return Counted(lambda user, clicks: (int(users.row(user) is None), len(clicks.liked), int(user in arrived)))

    def _clicks(self) -> Iterator[tuple[str, str, str]]:
        """Return all that was done since training as (user, item, kind)."""
        for user, clicks in self.overlay.items():
            yield from ((user, item, "like") for item in clicks.liked)
            yield from ((user, item, "dislike") for item in clicks.disliked)
        for user, items in self.arrived.items():
            yield from ((user, item, "arrived") for item in items)

    def _item(self, name: str) -> int | None:
        """Return the row of an item that may be used."""
        return None if name in self.removed else self.recommender.view.vocabulary.items.row(name)

    def _known_item(self, name: str) -> int:
        row = self._item(name)
        if row is None:
            raise DataError(
                f"item {name!r}",
                "an unknown id",
                expected="an item of this recommender",
                fix="Check the id; a new item is adapted to first.",
            )
        return row

    def _rows(self, names: Iterable[str]) -> Rows:
        rows = (self._item(name) for name in names)
        return np.unique(np.array([row for row in rows if row is not None], np.int32))

    @cached_property
    def _removed_rows(self) -> Rows:
        rows = self.recommender.view.vocabulary.items.rows(sorted(self.removed))
        return np.unique(rows[rows >= 0])

    def _knows(self, support: Support) -> Mask:
        """Say which clicks of a support the base has already: -> (n,)."""
        view = self.recommender.view
        return view.interactions.has(view.vocabulary.users.rows(support.users), view.vocabulary.items.rows(support.items))

    def _asked(self, user: str | None, liked: Sequence[str], disliked: Sequence[str]) -> Asked:
        clicks = (self.overlay[user] if user is not None else Clicks()).then(liked, disliked)
        row = None if user is None else self.recommender.view.vocabulary.users.row(user)
        return Asked(user, row, self._rows(clicks.liked), self._rows(clicks.disliked))

    def _profile_answers(self) -> ProfileAnswers:
        answers = self._base.answers
        if not isinstance(answers, ProfileAnswers):
            models = "the floors and metakg"
            raise ConfigError(f"model {self.model}", "no explanations", expected=f"one of {models}", fix="Ask one of them.")
        return answers

    def _answer(self, asked: Asked) -> Answer:
        return self._less_refused(asked, self._base.answers.answer(asked))

    def _less_refused(self, asked: Asked, answer: Answer) -> Answer:
        return Answer(self._refused(asked, answer.scores), answer.speaks, answer.seen, answer.way)

    def _refused(self, asked: Asked, scores: Floats) -> Floats:
        if not len(asked.disliked):
            return scores
        return refuse(scores, self._base.answers.closeness(asked.disliked), REFUSAL)

    def _best_of(
        self,
        asked: Asked,
        answer: Answer,
        k: int,
        filter_seen: bool,
        allow: Collection[str] | None,
        deny: Collection[str],
        diversity: float,
    ) -> list[Recommendation]:
        """Return the list that follows from an answer (see `recommend` for the arguments)."""
        shown = self._may_be_shown(answer, asked, True, allow, deny)
        items = self._best(answer, shown, k if not diversity else max(_POOL * k, 50))
        if diversity and len(items) > 1:
            items = items[diversify(answer.scores[items], self._close_among(items), k, diversity)]
        if not filter_seen and len(items) < k:
            again = self._may_be_shown(answer, asked, False, allow, deny) & ~shown
            items = np.concatenate([items, self._best(answer, again, k - len(items))])
        v = self.recommender.view.vocabulary
        return [
            Recommendation(
                v.items.id(item),
                v.items.label(item),
                float(answer.scores[item]),
                answer.way if answer.speaks[item] else "popular",
            )
            for item in items[:k].tolist()
        ]

    def _may_be_shown(
        self, answer: Answer, asked: Asked, filter_seen: bool, allow: Collection[str] | None, deny: Collection[str]
    ) -> Mask:
        n_items = self.recommender.view.n_items
        shown = np.ones(n_items, np.bool_)
        if allow is not None:
            shown[:] = False
            shown[self._rows(several(allow, "allow"))] = True
        shown[self._rows(several(deny, "deny"))] = False
        shown[self._removed_rows] = False
        shown[asked.disliked] = False
        if filter_seen:
            shown[answer.seen] = False
        return shown

    def _best(self, answer: Answer, shown: Mask, k: int) -> Rows:
        """Return the rows of the best k of some items; of equal scores, the more popular and then the earlier one first."""
        scores = answer.scores
        if k < len(scores):
            least = torch.topk(torch.from_numpy(np.where(shown, scores, -np.inf)), k, sorted=False).values.min().item()
            shown = shown & (scores >= least)
        items = np.flatnonzero(shown).astype(np.int32)
        return items[np.lexsort((items, -self.recommender.view.popularity[items], -scores[items]))][:k]

    def _place_of(self, row: int, scores: Floats, shown: Mask) -> int:
        """Return the place of a row among those shown, from 1, in the order of `_best`."""
        popularity, rows = self.recommender.view.popularity, np.arange(len(scores))
        earlier = (popularity > popularity[row]) | ((popularity == popularity[row]) & (rows < row))
        return 1 + int((shown & ((scores > scores[row]) | ((scores == scores[row]) & earlier))).sum())

    def _user_label(self, user: str) -> str:
        users = self.recommender.view.vocabulary.users
        row = users.row(user)
        return user if row is None else users.label(row)


def _check_list(k: int, diversity: float) -> None:
    """Refuse lists of no length, or of no known diversity."""
    _check_count(k, "k")
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity lies between 0 and 1, not at {diversity}")


def _check_count(count: int, name: str) -> None:
    """Refuse what is no number of things to return."""
    if not isinstance(count, int | np.integer) or count < 1:
        raise ValueError(f"{name} is a positive whole number, not {count!r}")
