"""`Evaluation`: the values of every user, the rows of the table they make, and their folder on disk (format 2).

manifest.json    model, protocol, seed, switches; per scenario its coverage and timings; hashes
rows.jsonl       one row for each scenario, number of shots, metric and cut-off
users.parquet    one row for each scenario, number of shots and user: at which places of his list his answers stand, never
                 averaged away, and how many there are; every metric follows from those two, and is worked out again on loading

Format 1 had a column for each metric and cut-off instead of the places, at twice the size and more; what is read from it is
saved as it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metakg import files
from metakg.data import tables
from metakg.data.scenario import Protocol
from metakg.errors import DataError
from metakg.evaluation.metrics import Hits, Values, compute
from metakg.types import Floats, Json

FORMAT = 2
MaskRule = Literal["support", "support+train"]
MASK: MaskRule = "support+train"
"""What is left out of a user's list unless another rule is asked for (docs/decisions/0008-protocols.md)."""
TIES = "lot"
"""Who breaks ties: lots that each user draws for the items (`metakg.evaluation.ranking.Lots`). Until 2026-11-27 it was the row,
and so the order of the files, which is seldom made by lot."""
CandidateRule = Literal["all", "scenario"]

_MANY_TIES = 0.05
_REPEAT = 'Evaluate again ("metakg evaluate").'


@dataclass(frozen=True, eq=False)
class ScenarioResult:
    """How one model did in one scenario at one number of shots.

    Attributes:
        scenario: its name.
        shots: how many support pairs were revealed (of each user, or of each item where items are cold); None = all.
        users: (B,) ids of the judged users.
        hits: (B, K) whether each place of the user's list holds one of his answers; None where an older version saved it.
        values: (metric, k) -> (B,) value of each user, as `metakg.evaluation.metrics` works it out from `hits`.
        relevant: (B,) number of query items of each user.
        revealed: (B,) number of the user's support pairs that were revealed before ranking.
        tied: (B,) share of the user's list whose score occurs again in it or just behind it.
        coverage: k -> share of the ranked catalogue that occurs in somebody's first k.
        n_ranked: number of items that were ranked.
        adapt_s: seconds to adapt.
        rank_s: seconds from the adapted model to the metrics.
    """

    scenario: str
    shots: int | None
    users: pa.Array
    hits: Hits | None
    values: Mapping[tuple[str, int], Values]
    relevant: npt.NDArray[np.int64]
    revealed: npt.NDArray[np.int64]
    tied: Floats
    coverage: Mapping[int, float]
    n_ranked: int
    adapt_s: float
    rank_s: float

    @property
    def name(self) -> str:
        """The scenario, with the number of shots where it was limited."""
        return self.scenario if self.shots is None else f"{self.scenario} at {self.shots} shot{'s' * (self.shots != 1)}"

    @property
    def about(self) -> str:
        """What was judged, in one line: users, revealed pairs, query items, ranked items."""
        shown, asked = self.revealed, self.relevant
        return (
            f"{self.name}: {len(self.users):,} users, {shown.mean():.1f} revealed clicks each "
            f"({shown.min()} to {shown.max()}), {asked.mean():.1f} query items each ({asked.min()} to {asked.max()}), "
            f"{self.n_ranked:,} items ranked"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How one model did in all scenarios, with everything needed to compare it with another.

    Attributes:
        model: its name in tables.
        protocol: protocol of the split.
        seed: the seed the model was fitted with, or None.
        mask: which items were left out of each user's list.
        candidates: whether all items were ranked or only those that can be right in the scenario.
        results: one for each scenario and number of shots.
        ties: by what equal scores were ordered, a lot of each user's ("lot") or the row ("row", as it once was).
    """

    model: str
    protocol: Protocol
    seed: int | None
    mask: MaskRule
    candidates: CandidateRule
    results: tuple[ScenarioResult, ...]
    ties: str = TIES

    def __repr__(self) -> str:
        judged = ", ".join(result.name for result in self.results)
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"Evaluation({self.model}{seed}, {self.protocol} protocol: {judged})"

    def __str__(self) -> str:
        """Return its tables, and what was judged."""
        from metakg.evaluation.report import aggregate, rules_of, tables

        rows = aggregate(self.rows)
        return "\n".join([tables(rows), rules_of(rows), *(result.about for result in self.results)])

    def at(self, k: int) -> Evaluation:
        """Return the same at one cut-off alone.

        Raises:
            KeyError: it was not judged there.
        """

        def cut(result: ScenarioResult) -> ScenarioResult:
            values = {key: of_users for key, of_users in result.values.items() if key[1] == k}
            hits = None if result.hits is None else result.hits[:, :k]
            return replace(result, hits=hits, values=values, coverage={k: result.coverage[k]})

        return replace(self, results=tuple(map(cut, self.results)))

    @cached_property
    def rows(self) -> list[Json]:
        """The table: {model, scenario, protocol, shots, metric, k, mean, n_users, seed, mask, candidates}.

        Beside the metrics there are `coverage` (of the catalogue, one number for all users) and `tied` (see `ScenarioResult`).
        """
        rows = []
        for result in self.results:
            means = {key: float(values.mean()) for key, values in result.values.items()}
            means |= {("coverage", k): share for k, share in result.coverage.items()}
            means[("tied", max(result.coverage))] = float(result.tied.mean(dtype=np.float64))
            rows += [
                {
                    "model": self.model,
                    "scenario": result.scenario,
                    "protocol": self.protocol,
                    "shots": result.shots,
                    "metric": metric,
                    "k": k,
                    "mean": mean,
                    "n_users": len(result.users),
                    "seed": self.seed,
                    "mask": self.mask,
                    "candidates": self.candidates,
                }
                for (metric, k), mean in means.items()
            ]
        return rows

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should doubt: perfect scores, and lists that are full of ties."""
        return tuple(notes_of([self]))

    def result(self, scenario: str, shots: int | None = None) -> ScenarioResult:
        """Return the result of one scenario at one number of shots (None: all).

        Raises:
            KeyError: there is none.
        """
        for result in self.results:
            if (result.scenario, result.shots) == (scenario, shots):
                return result
        raise KeyError(f"no result for {scenario!r} at shots {shots}; there are {', '.join(r.name for r in self.results)}")

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write the evaluation as a folder, whole or not at all.

        Raises:
            DataError: the folder exists (and `overwrite` is off), or cannot be written.
        """
        with files.atomic_folder(Path(folder), overwrite=overwrite, kind="evaluation") as temporary:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows]
            (temporary / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
            tables.write(temporary, "users", self._users())
            manifest: Json = {
                "kind": "evaluation",
                "format": FORMAT if self._keeps_hits else 1,
                "model": self.model,
                "protocol": self.protocol,
                "seed": self.seed,
                "mask": self.mask,
                "candidates": self.candidates,
                "ties": self.ties,
                "metrics": [list(key) for key in (self.results[0].values if self.results else ())],
                "results": [
                    {
                        "scenario": result.scenario,
                        "shots": result.shots,
                        "n_users": len(result.users),
                        "coverage": {str(k): share for k, share in result.coverage.items()},
                        "n_ranked": result.n_ranked,
                        "adapt_s": result.adapt_s,
                        "rank_s": result.rank_s,
                    }
                    for result in self.results
                ],
                "notes": list(self.notes),
                "tables": tables.describe(temporary, ["users"]),
            }
            files.write_json(temporary / "manifest.json", manifest)

    @staticmethod
    def load(folder: Path | str) -> Evaluation:
        """Read a folder that `save` wrote.

        Raises:
            DataError: a file is missing or damaged, or is not what its manifest says.
        """
        folder = Path(folder)
        path = folder / "manifest.json"
        manifest = files.read_json(path, what="manifest of an evaluation")
        if manifest.get("kind") != "evaluation" or manifest.get("format") not in (1, FORMAT):
            found = f"kind {manifest.get('kind')!r}, format {manifest.get('format')!r}"
            raise DataError(str(path), found, expected=f"kind 'evaluation', format 1 or {FORMAT}", fix=_REPEAT)
        listed = tables.listed(manifest, path, ["users"], fix=_REPEAT)
        tables.verify(folder, listed, fix=_REPEAT)
        try:
            metrics = [(str(metric), int(k)) for metric, k in manifest["metrics"]]
            columns = {"user": pa.string(), "relevant": pa.int64(), "revealed": pa.int64(), "tied": pa.float32()}
            if manifest["format"] == 1:
                columns |= {f"{metric}@{k}": pa.float64() for metric, k in metrics}
            else:
                columns["hits"] = pa.list_(_place_type(max((k for _, k in metrics), default=0)))
            table = tables.read(folder, "users", columns, listed=listed, fix=_REPEAT)
            results, start = [], 0
            for entry in manifest["results"]:
                part = table.slice(start, entry["n_users"])
                results.append(_read_result(entry, part, metrics))
                start += len(part)
            if start != len(table):
                raise ValueError(f"{len(table)} rows of users, {start} in its results")
            return Evaluation(
                manifest["model"],
                manifest["protocol"],
                manifest["seed"],
                manifest["mask"],
                manifest["candidates"],
                tuple(results),
                manifest.get("ties", "row"),
            )
        except (KeyError, TypeError, ValueError) as err:
            found = f"an entry that does not fit ({err!r})"
            raise DataError(str(path), found, expected="the manifest of an evaluation", fix=_REPEAT) from err

    def _users(self) -> Json:
        """Return the columns of `users.parquet`."""
        results = self.results
        columns: Json = {
            "scenario": pa.array([r.scenario for r in results for _ in range(len(r.users))], pa.string()),
            "shots": pa.array([r.shots for r in results for _ in range(len(r.users))], pa.int64()),
            "user": pa.chunked_array([r.users for r in results], pa.string()),
        }
        for name, dtype in (("relevant", np.int64), ("revealed", np.int64), ("tied", np.float32)):
            columns[name] = np.concatenate([np.empty(0, dtype), *(getattr(r, name) for r in results)])
        if self._keeps_hits:
            kept = [r.hits for r in results if r.hits is not None]
            kind = _place_type(max((hits.shape[1] for hits in kept), default=0))
            columns["hits"] = pa.chunked_array([_places(hits, kind) for hits in kept], pa.list_(kind))
        else:
            for metric, k in results[0].values:
                columns[f"{metric}@{k}"] = np.concatenate([r.values[metric, k] for r in results])
        return columns

    @property
    def _keeps_hits(self) -> bool:
        """Whether all hits are there; they are not where the evaluation was read from format 1, which it then stays."""
        return all(result.hits is not None for result in self.results)


def notes_of(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return what a reader should doubt of one model under some seeds: perfect scores, and lists that are full of ties."""
    first, notes = evaluations[0], []
    for evaluation in evaluations:
        for result in evaluation.results:
            perfect = [f"{metric}@{k}" for (metric, k), values in result.values.items() if (values == 1.0).all()]
            if perfect:
                notes.append(
                    f"{first.model}, {result.name}: {', '.join(perfect)} is exactly 1 for every user; "
                    "real data are never that kind, so look for answers that the model can see."
                )
    tied = [(r.name, float(np.mean([e.results[n].tied.mean() for e in evaluations]))) for n, r in enumerate(first.results)]
    many = [f"{share:.0%} in {name}" for name, share in tied if share > _MANY_TIES]
    if many:
        by = "a lot" if first.ties == "lot" else "the order of items in the data"
        notes.append(f"{first.model}: listed scores are tied, so that {by} decides what stands first: {', '.join(many)}.")
    return list(dict.fromkeys(notes))


def _place_type(width: int) -> pa.DataType:
    """Return the type of places in lists of so many items."""
    return pa.uint16() if width <= np.iinfo(np.uint16).max else pa.uint32()


def _places(hits: Hits, kind: pa.DataType) -> pa.Array:
    """Return the places (from 1) of each user's hits: (B, K) -> (B,) lists."""
    starts = np.concatenate([[0], np.cumsum(hits.sum(axis=1))])
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(np.nonzero(hits)[1] + 1, kind))


def _read_hits(column: pa.ChunkedArray, width: int) -> Hits:
    """Turn lists of places into hits: (B,) lists -> (B, K).

    Raises:
        ValueError: a place lies behind K, or is given twice.
    """
    lists = column.combine_chunks()
    hits = np.zeros((len(lists), width), np.bool_)
    user, place = lists.value_parent_indices().to_numpy(), lists.flatten().to_numpy().astype(np.int64) - 1
    if len(place) and not 0 <= place.min() <= place.max() < width:
        raise ValueError(f"a hit at place {(place[(place < 0) | (place >= width)] + 1)[0]} of {width}")
    hits[user, place] = True
    if hits.sum() != len(place):
        raise ValueError("a place that is given twice")
    return hits


def _read_result(entry: Json, part: pa.Table, metrics: list[tuple[str, int]]) -> ScenarioResult:
    relevant, hits = tables.array(part, "relevant"), None
    if "hits" in part.column_names:
        ks = sorted({k for _, k in metrics})
        if not ks:
            raise ValueError("no metrics")
        hits = _read_hits(part["hits"], ks[-1])
        found = compute(hits, relevant, ks, list(dict.fromkeys(metric for metric, _ in metrics)))
        values: dict[tuple[str, int], Values] = {key: found[key] for key in metrics}
    else:
        values = {(metric, k): tables.array(part, f"{metric}@{k}") for metric, k in metrics}
    return ScenarioResult(
        scenario=entry["scenario"],
        shots=entry["shots"],
        users=part["user"].combine_chunks(),
        hits=hits,
        values=values,
        relevant=relevant,
        revealed=tables.array(part, "revealed"),
        tied=tables.array(part, "tied"),
        coverage=dict(sorted((int(k), float(share)) for k, share in entry["coverage"].items())),
        n_ranked=entry["n_ranked"],
        adapt_s=entry["adapt_s"],
        rank_s=entry["rank_s"],
    )
