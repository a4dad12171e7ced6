"""What answering one person costs, and how far an online answer is from a full retrain.

    python benchmarks/serving.py request SPLIT [--models metakg,blend] [--users 1000] [--clicks 10]
    python benchmarks/serving.py open SPLIT [--models metakg,blend]
    python benchmarks/serving.py lists SPLIT [--models kgat,kgcn] [--users 200]
    python benchmarks/serving.py retrain SPLIT [--models blend,metakg] [--settings FILE] [--users 1000] [--keep FOLDER]

SPLIT is a split folder (metakg split). `request` takes users of `user_cold` and their first clicks: a new user adapts, gets
the top 20, and one explanation of the best with three paths. It prints the 50th and 99th percentile in milliseconds, and beside
them the plain way that the models offer without an engine (`Recommender.adapt` over a larger view, `score_all`, sort) for some
of the same users in the same run. Processor time is printed too: on a busy machine it is the fairer figure. A model that learns
is not trained here: what it learnt does not change what it costs.

`open` writes a bundle of each model and opens it nine times: median seconds, and what it weighs on disk; beside them what the
matrices that are worked out anew would weigh.

`lists` asks for the lists of users the training data know, one at a time (`recommend`) and all of them together, as `metakg
lists` does: milliseconds a list. What is worked out once for all (a graph network's vectors) is made by a user before.

`retrain` compares three answers to the same users, whose support has arrived, and with it the new items and their facts:
*online* (each user's own clicks beside an engine that knows nobody else's new ones), *together* (the model adapted to all
support at once, as in the evaluation), and *refitted* (the model fitted from nothing on training data and support). It prints
the recall of each, and how many of the 20 items of the first two are also in the refitted list.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

import metakg
from metakg.cli.common import model_settings
from metakg.data import Split, Support, TrainView
from metakg.engine import Engine
from metakg.models.base import Recommender
from metakg.models.registry import build, config_for
from metakg.splits.store import load

K = 20


def people(split: Split, n_users: int, n_clicks: int | None) -> list[tuple[str, list[str], set[str]]]:
    """Return some users of `user_cold`: id, first clicks (with a number: of items that the training data know), answers."""
    scenario, v, train = split.scenarios["user_cold"], split.dataset.vocabulary, split.train.vocabulary
    found = []
    for user in np.random.default_rng(0).permutation(scenario.users).tolist():
        items = v.items.ids(scenario.support.items[scenario.support.users == user])
        known = [item for item in items if n_clicks is None or train.items.row(item) is not None][:n_clicks]
        if known:
            answers = v.items.ids(scenario.query.items[scenario.query.users == user])
            found.append((v.users.id(user), known, set(answers)))
        if len(found) == n_users:
            break
    return found


class Clock:
    """Milliseconds of many calls, by name: wall clock and processor."""

    def __init__(self) -> None:
        self.taken: dict[str, list[tuple[float, float]]] = {}

    def time(self, name: str, call: Callable[[], object]) -> object:
        """Call and note how long it took."""
        wall, processor = time.perf_counter(), time.process_time()
        result = call()
        spent = (time.perf_counter() - wall, time.process_time() - processor)
        self.taken.setdefault(name, []).append(spent)
        return result

    def row(self, name: str) -> str:
        """Return the figures of one line of the table."""
        wall, processor = 1e3 * np.array(self.taken[name]).T
        figures = [np.quantile(part, q) for part in (wall, processor) for q in (0.5, 0.99)]
        return "".join(f"{figure:>11.2f}" for figure in figures)


def request(split: Split, models: Sequence[str], n_users: int, n_clicks: int) -> None:
    """Time adapting, recommending and explaining for one new user at a time."""
    torch.set_num_threads(1)
    some, view = people(split, n_users, n_clicks), split.train
    print(f"{view.n_users:,} users, {view.n_items:,} items, {view.n_entities:,} entities;", end=" ")
    print(f"{len(some):,} new users, {n_clicks} clicks each")
    print(f"{'milliseconds':<34}{'wall p50':>11}{'p99':>11}{'cpu p50':>11}{'p99':>11}")
    for model in models:
        recommender = build(config_for(model), view, seed=1).eval()
        clock = answered(Engine(recommender), some)
        for user, clicks, _ in some[: max(1, len(some) // 50)]:
            clock.time("the plain way", partial(plainly, recommender, user, clicks))
        for name in clock.taken:
            print(f"{model + ': ' + name:<34}{clock.row(name)}")
        plain, ours = (np.median(clock.taken[name], 0)[1] for name in ("the plain way", "adapt + top 20"))
        print(f"{model}: the plain way takes {plain / ours:,.0f} times the processor time of adapt + top 20")


def answered(engine: Engine, some: list[tuple[str, list[str], set[str]]]) -> Clock:
    """Answer some users, each of them new, and note how long everything takes."""

    def both(user: str, clicks: list[str]) -> object:
        return engine.adapt(user, clicks).recommend(user, K)

    clock = Clock()
    for user, clicks, _ in [some[0], *some]:
        adapted = engine.adapt(user, clicks)
        clock.time("adapt", partial(engine.adapt, user, clicks))
        clock.time("top 20", partial(adapted.recommend, user, K))
        clock.time("adapt + top 20", partial(both, user, clicks))
        if engine.explains:
            clock.time("explain", partial(adapted.explain, user, adapted.recommend(user, 1)[0].item))
    clock.taken = {name: times[1:] for name, times in clock.taken.items()}  # the first was to warm up
    return clock


def plainly(recommender: Recommender, user: str, clicks: list[str]) -> list[str]:
    """Adapt a model by itself and return the ids of its best items."""
    adapted = recommender.adapt(Support.clicks(user, clicks)).eval()
    v = adapted.view.vocabulary
    with torch.inference_mode():
        scores = adapted.score_all(torch.tensor([v.users.row(user)]))[0].numpy()
    return v.items.ids(np.argsort(-scores, kind="stable")[:K].astype(np.int32))


def opened(split: Split, models: Sequence[str]) -> None:
    """Time opening a bundle, every check included."""
    torch.set_num_threads(1)
    print(f"{'model':<12}{'wall s':>10}{'cpu s':>10}{'bundle MB':>12}{'matrices MB':>14}")
    for model in models:
        recommender = build(config_for(model), split.train, seed=1).eval()
        with tempfile.TemporaryDirectory() as place:
            folder, clock = Path(place) / "bundle", Clock()
            Engine(recommender).save(folder)
            for _ in range(9):
                clock.time("open", partial(metakg.load, folder))
            wall, processor = np.median(clock.taken["open"], 0)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        parts = [recommender, *getattr(recommender, "parts", ())]
        found = [getattr(part, "evidence", None) for part in parts]
        factors = [getattr(evidence, "factors", evidence) for evidence in found if evidence is not None]
        matrices = [matrix for some in factors for matrix in (some.left, some.right, some.back)]
        weight = sum(matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes for matrix in matrices)
        print(f"{model:<12}{wall:>10.2f}{processor:>10.2f}{size / 1e6:>12.1f}{weight / 1e6:>14.1f}")


def _all(engine: Engine, names: Sequence[str]) -> None:
    list(engine.lists(names, K))


def lists(split: Split, models: Sequence[str], n_users: int) -> None:
    """Time the lists of known users, asked for one by one and together."""
    torch.set_num_threads(1)
    with_clicks = np.unique(split.train.interactions.users)
    print(f"{split.train.n_items:,} items; milliseconds a list, median of one by one and mean of {n_users:,} together")
    print(f"{'model':<12}{'wall: alone':>13}{'together':>10}{'cpu: alone':>12}{'together':>10}")
    for model in models:
        engine = Engine(build(config_for(model), split.train, seed=1).eval())
        first, *names = split.train.vocabulary.users.ids(with_clicks[: n_users + 1])
        engine.recommend(first, K)
        clock = Clock()
        for name in names[:: max(1, len(names) // 50)]:
            clock.time("alone", partial(engine.recommend, name, K))
        clock.time("together", partial(_all, engine, names))
        alone, together = (1e3 * np.median(clock.taken[how], 0) for how in ("alone", "together"))
        together /= len(names)
        print(f"{model:<12}{alone[0]:>13.2f}{together[0]:>10.2f}{alone[1]:>12.2f}{together[1]:>10.2f}")


def retrain(split: Split, models: Sequence[str], settings: list[Path] | None, n_users: int, keep: Path) -> None:
    """Compare online answers with those of a model fitted again on everything."""
    some = people(split, n_users, None)
    support = split.support("user_cold")
    nobody = pa.array([], pa.string())
    news = replace(support, users=nobody, items=nobody, newcomers=nobody)
    everything = split.train.extend(support)
    everything = TrainView(everything.vocabulary, everything.interactions, everything.graph)
    print(f"{len(some):,} users of user_cold; support of all: {len(support):,} clicks,", end=" ")
    print(f"beside {len(split.train.interactions):,} in training")
    print(f"{'':<12}{'recall@20':>36}{'of 20 items, also in the refitted list':>42}")
    print(f"{'model':<12}{'online':>12}{'together':>12}{'refitted':>12}{'online':>21}{'together':>21}")
    for model in models:
        chosen = model_settings(settings, None).get(model, {})
        base = kept(keep / f"{model}-base", partial(metakg.fit, model, split.train, seed=1, **chosen))
        refit = kept(keep / f"{model}-refit", partial(metakg.fit, model, everything, seed=1, **chosen))
        together = Engine(base.recommender.adapt(support))
        online = base.adapt(support=news)
        recall: dict[str, list[float]] = {"online": [], "together": [], "refitted": []}
        shared: dict[str, list[float]] = {"online": [], "together": []}
        for user, clicks, answers in some:
            lists = {
                "online": online.adapt(user, clicks).recommend(user, K),
                "together": together.recommend(user, K),
                "refitted": refit.recommend(user, K),
            }
            items = {name: {entry.item for entry in found} for name, found in lists.items()}
            for name, found in items.items():
                recall[name].append(len(found & answers) / len(answers))
            for name, common in shared.items():
                common.append(len(items[name] & items["refitted"]) / K)
        recalls = "".join(f"{np.mean(found):>12.4f}" for found in recall.values())
        print(f"{model:<12}{recalls}" + "".join(f"{np.mean(found):>21.3f}" for found in shared.values()))
        for name in ("online", "together"):
            gap = np.array(recall[name]) - np.array(recall["refitted"])
            print(f"  {name} - refitted: {gap.mean():+.4f} recall, standard error {gap.std(ddof=1) / len(gap) ** 0.5:.4f}")


def kept(folder: Path, make: Callable[[], Engine]) -> Engine:
    """Open a bundle, or make and keep it."""
    if (folder / "manifest.json").exists():
        return metakg.load(folder)
    made = make()
    made.save(folder)
    return made


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, models in (
        ("request", "metakg,blend,walk,kg-knn,item-knn"),
        ("open", "metakg,blend"),
        ("lists", "metakg,blend,kgat,ckan,kgcn,mcrec,ugrec,nfm,ripplenet,melu,metahin"),
        ("retrain", "blend,metakg"),
    ):
        command = commands.add_parser(name)
        command.add_argument("split", type=Path)
        command.add_argument("--models", default=models)
        command.add_argument("--users", type=int, default=200 if name == "lists" else 1000)
        if name == "request":
            command.add_argument("--clicks", type=int, default=10)
        if name == "retrain":
            command.add_argument("--settings", type=Path, action="append", help="repeat for more")
            command.add_argument("--keep", type=Path, help="keep fitted models here, and take them from here")
    options = parser.parse_args()
    split = load(options.split)
    names = options.models.split(",")
    if options.command == "request":
        request(split, names, options.users, options.clicks)
        return
    if options.command == "open":
        opened(split, names)
        return
    if options.command == "lists":
        lists(split, names, options.users)
        return
    with tempfile.TemporaryDirectory() as folder:
        retrain(split, names, options.settings, options.users, options.keep or Path(folder))


if __name__ == "__main__":
    main()
