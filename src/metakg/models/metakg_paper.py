"""MetaKG: a gated graph attention network whose aggregators adapt to every user's few clicks.

Du, Zhu, Chen, Fang, Gao: "MetaKG: Meta-learning on Knowledge Graph for Cold-start Recommendation", TKDE 2022
(arXiv:2202.03851). Equation numbers are the paper's. Three groups of parameters, in its letters:

    phi    node and relation vectors                     learnt globally from facts (eqs. 22-25)
    omega  attention matrices W_r, gates W_c and W_k     learnt globally
    gamma  aggregators W_1 and W_2 of every layer        learnt so that one step on a few clicks suits a user (eqs. 19-21)

Differs from the paper (each a setting of `MetaKGConfig`): the gates, which the paper trains by a loss they do not occur in,
get the gradient of the query loss; a node that hears one neighbour set only is not gated; attention is computed from the
initial vectors and refreshed every few steps, without gradient; vectors are normalised before they are compared; training
reads neighbours sampled by attention unless `fan_out` is None.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from metakg import losses
from metakg.data import IdMap, Interactions, KnowledgeGraph, Support, TrainView
from metakg.data.view import origin
from metakg.errors import CheckpointError
from metakg.models.base import Recommender
from metakg.models.metakg_paper_config import MetaKGConfig
from metakg.models.nn.attention import attention
from metakg.models.nn.ckg import CollaborativeGraph, training_edges
from metakg.models.nn.network import GatedNetwork, LayerWeights, Tables
from metakg.models.nn.rows import carry_nodes, carry_relations
from metakg.models.nn.transr import energies, xavier
from metakg.sample.episodes import Episodes
from metakg.sample.neighbours import Field, receptive_field
from metakg.sample.pairs import PairBatch
from metakg.sample.triples import TripleBatch

HUB_DEGREE = 1024
"""Neighbours from which a node is a hub, whose message is worked out as a whole where all neighbours are read."""

LossTerms = dict[str, Tensor]


@dataclass(frozen=True)
class MetaBatch:
    """One outer step: tasks to adapt to and be judged on, and facts.

    Attributes:
        support: what each task may adapt on.
        query: what the same tasks are judged on.
        facts: triples for the knowledge-aware learner, or None.
        adapted: gamma_u of these tasks where it is known already (first order only); else it is computed.
        tables: what the tasks share, where it is known already; unused if `outer` is "joint".
    """

    support: Episodes
    query: Episodes
    facts: TripleBatch | None
    adapted: LayerWeights | None = None
    tables: Tables | None = None


@dataclass(frozen=True)
class JointBatch:
    """One step of plain training (eq. 26): clicks and facts."""

    pairs: PairBatch
    facts: TripleBatch | None


@dataclass(frozen=True)
class TaskScores:
    """What adapting to M tasks showed.

    Attributes:
        loss: (M,) query loss after the inner step.
        similarity: (M,) cosine between the support gradient and the query gradient in the adapted weights.
        adapted: gamma_u.
    """

    loss: Tensor
    similarity: Tensor
    adapted: LayerWeights


@dataclass(frozen=True)
class NodeVectors:
    """The vectors of all nodes after one propagation; what a recommender serves from.

    Attributes:
        layers: e^0..e^L, each (N, D_l).
        final: (N, sum of widths) vectors whose inner product is the score.
        newcomer: (D,) e^0 of a user who is not there yet: the mean of the trained users.
        moved: user rows whose vector was computed anew since, or that came later.
        vectors: (len(moved), sum of widths) their vectors.
    """

    layers: tuple[Tensor, ...]
    final: Tensor
    newcomer: Tensor
    moved: tuple[int, ...] = ()
    vectors: Tensor | None = None

    def of_users(self, users: Tensor, n_users: int) -> Tensor:
        """Return the vectors of some users, the newest where there are several: (B,) -> (B, F)."""
        found = self.final.index_select(0, users.clamp(max=n_users - 1))
        if self.vectors is not None:
            moved, place = torch.tensor(self.moved, device=users.device).sort()
            at = torch.searchsorted(moved, users).clamp(max=len(moved) - 1)
            hit = moved[at] == users
            found[hit] = self.vectors[place[at[hit]]]
        return found


class MetaKG(Recommender):
    """The paper's model over the training graph of a view.

    Args:
        config: settings.
        view: training data. While it has tasks, their query pairs are labels and never edges.
        rng: the source of the initial parameters, then of dropout and neighbour sampling.
        edges: pairs that are edges; None takes all that may be.
        attend: compute the attention now; else `refresh` must be called before anything else.
    """

    config: MetaKGConfig
    attention_weights: Tensor
    trained: Tensor

    def __init__(
        self,
        config: MetaKGConfig,
        view: TrainView,
        rng: torch.Generator,
        edges: Interactions | None = None,
        *,
        attend: bool = True,
    ) -> None:
        super().__init__(config, view, rng)
        if config.arch == "code" and type(self) is MetaKG:
            raise ValueError('arch = "code" is metakg.models.metakg_released.MetaKGReleased')
        self.edges = training_edges(view) if edges is None else edges
        self.vectors: NodeVectors | None = None
        self.graph = CollaborativeGraph(view, self.edges)
        d, n_relations = config.dim, self.graph.n_relations
        self.node = nn.Parameter(xavier(self.graph.n_nodes, d, rng=rng))  # c_x
        self.bias = nn.Parameter(torch.zeros(d))  # b of eq. 9
        if config.node_form == "projection":
            self.node.requires_grad_(False)
            self.embed = nn.Parameter(torch.eye(d))  # W_e of eq. 9
        self.relation = nn.Parameter(xavier(n_relations, d, rng=rng))
        self.project = nn.Parameter(xavier(n_relations, d, d, rng=rng))  # W_r
        self.network = GatedNetwork(config, self.graph, rng)
        levels = 1 if config.attention_level == "layer0" else len(config.dims)
        self.register_buffer("attention_weights", torch.zeros(levels, self.graph.n_edges))
        self.register_buffer("trained", ~self.graph.isolated())  # (N,) rows that training moves, or has moved
        if attend:
            self.refresh()

    # -- what is learnt: `forward` is the loss ---------------------------------------------------------------------------

    def forward(self, batch: MetaBatch | JointBatch) -> LossTerms:
        """Return the named loss terms of one step; the trainer adds them."""
        if isinstance(batch, JointBatch):
            return self._joint_losses(batch)
        joint = self.config.outer == "joint"
        tables = batch.tables
        if tables is None or joint:
            tables = self.tables(tracked=joint)
        if batch.adapted is None:
            weights = self.adapt_tasks(tables, batch.support)
        elif self.config.order == "second":
            raise ValueError("second order needs the history of the inner step; give no adapted weights")
        else:
            weights = self._attach(batch.adapted)
        if self.config.outer == "literal":  # the gates stay as they are until adaptation
            weights = LayerWeights(weights.w1, weights.w2, *(tuple(t.detach() for t in w) for w in (weights.w_c, weights.w_k)))
        terms = {"query": self.task_losses(tables, batch.query, weights).mean()}
        return terms | self._fact_losses(batch.facts, self._ranked_nodes(batch.query) if joint else None)

    def adapt_tasks(self, tables: Tables, support: Episodes) -> LayerWeights:
        """Adapt gamma to every task by a step on its support loss (eq. 21): -> stacks (M, O, D).

        All tasks share one backward: gamma is laid out M times, and the sum of M losses has each task's gradient in its own
        copy. In first order the steps are constants, so that a gradient at gamma_u is a gradient of gamma (Algorithm 1).
        """
        slow, fast = self.network.weights(), self.adapts()
        second = self.config.order == "second" and torch.is_grad_enabled()
        tables = tables if second else tables.detach()
        current = [t.expand(support.n_tasks, -1, -1) if f else t for t, f in zip(slow.flat(), fast, strict=True)]
        field = self._episode_field(tables, support)
        for _ in range(self.config.inner_steps):
            with torch.enable_grad():
                trial = current
                if not second:
                    trial = [t.detach().contiguous().requires_grad_(f) for t, f in zip(current, fast, strict=True)]
                loss = self.task_losses(tables, support, slow.of(tuple(trial)), field).sum()
                wanted = [t for t, f in zip(trial, fast, strict=True) if f]
                steps = iter(torch.autograd.grad(loss, wanted, create_graph=second))
            current = [t - self.config.inner_lr * next(steps) if f else t for t, f in zip(current, fast, strict=True)]
        return slow.of(tuple(current))

    def task_losses(self, tables: Tables, episodes: Episodes, weights: LayerWeights, field: Field | None = None) -> Tensor:
        """Return the mean BPR loss of each task under its weights (eq. 17): -> (M,)."""
        field = self._episode_field(tables, episodes) if field is None else field
        vectors = self._final(tables, field, weights).index_select(0, field.seeds)
        sizes = [episodes.n_tasks, len(episodes.tasks), len(episodes.tasks)]
        users, positives, negatives = torch.split(vectors, sizes)
        # One product for both scores: y(u, i) - y(u, j) = z_u . (z_i - z_j).
        margin = (users.index_select(0, episodes.tasks) * (positives - negatives)).sum(-1)
        return losses.mean_by_group(losses.bpr(margin), episodes.tasks, episodes.n_tasks)

    def score_tasks(self, tables: Tables, support: Episodes, query: Episodes, *, whole: bool = False) -> TaskScores:
        """Adapt to tasks and judge them, without leaving a gradient anywhere: the inputs of a task scheduler (eq. 18).

        g_S is read off the inner step itself; with several steps it is their sum, without any the similarity is zero. With
        `whole`, both gradients are those of all weights of the layers, and compared by their inner product.
        """
        slow, fast = self.network.weights(), self.adapts()
        with torch.no_grad():
            adapted = self.adapt_tasks(tables, support).detach()
        steps, loss = self._gradients(tables, query, adapted, [True] * len(fast) if whole else fast)
        if whole:
            shared = slow.of(tuple(t.detach().expand(query.n_tasks, -1, -1) for t in slow.flat()))
            moved, _ = self._gradients(tables, support, shared, [True] * len(fast))
        else:
            moved = [(s - t).detach() for s, t, f in zip(slow.flat(), adapted.flat(), fast, strict=True) if f]
        g_s, g_q = (torch.cat([g.reshape(query.n_tasks, -1) for g in side], dim=1) for side in (moved, steps))
        return TaskScores(loss, (g_s * g_q).sum(1) if whole else cosine_similarity(g_s, g_q, dim=1), adapted)

    def _gradients(
        self, tables: Tables, episodes: Episodes, weights: LayerWeights, wanted: list[bool]
    ) -> tuple[list[Tensor], Tensor]:
        """Return the gradient of each task's loss in some stacks of weights, and the losses: -> stacks (M, O, D), (M,)."""
        with torch.enable_grad():
            trial = [
                (t.expand(episodes.n_tasks, -1, -1) if w else t).detach().contiguous().requires_grad_(w)
                for t, w in zip(weights.flat(), wanted, strict=True)
            ]
            loss = self.task_losses(tables.detach(), episodes, weights.of(tuple(trial)))
            leaves = [t for t, w in zip(trial, wanted, strict=True) if w]
            return list(torch.autograd.grad(loss.sum(), leaves, materialize_grads=True)), loss.detach()

    def adapts(self) -> list[bool]:
        """Say which stacks of `LayerWeights.flat()` the inner step adapts."""
        gamma, gate = self.config.inner != "gate", self.config.inner != "gamma"
        w, every = self.network.weights(), self.config.inner_layers == "all"
        groups = ((w.w1, gamma), (w.w2, gamma), (w.w_c, gate), (w.w_k, gate))
        return [adapted and (every or i == len(stack) - 1) for stack, adapted in groups for i in range(len(stack))]

    def _joint_losses(self, batch: JointBatch) -> LossTerms:
        tables, pairs = self.tables(tracked=True), batch.pairs
        nodes = torch.cat([pairs.users, pairs.positives + self.graph.n_users, pairs.negatives + self.graph.n_users])
        field = self._field(tables, torch.zeros_like(nodes), nodes, 1)
        vectors = self._final(tables, field, self.network.weights()).index_select(0, field.seeds)
        users, positives, negatives = torch.split(vectors, len(pairs))
        terms = {"rank": losses.bpr((users * (positives - negatives)).sum(-1)).mean()}
        return terms | self._fact_losses(batch.facts, nodes)

    def _fact_losses(self, facts: TripleBatch | None, ranked: Tensor | None) -> LossTerms:
        """Return the triple loss (eqs. 22-23) and the length penalty of the node rows that the step uses."""
        config, terms, used, size = self.config, LossTerms(), [], 0
        if facts is not None and config.kg_weight:
            rows = self.node.index_select(0, facts.rows())
            vectors = rows if config.node_form == "table" else rows @ self.embed.T  # the bias cancels in e_h - e_t
            true, false = self._energies(vectors, facts)
            terms["kg"] = config.kg_weight * losses.triple_ranking(true, false).mean()
            used.append(rows)
            size += len(facts)
        if ranked is not None:
            used.append(self.node.index_select(0, ranked))
            size += len(ranked) // 3
        if used and config.weight_decay and config.node_form == "table":
            terms["l2"] = losses.squared_norm(*used, batch=size, weight=config.weight_decay)
        return terms

    def _final(self, tables: Tables, field: Field, weights: LayerWeights) -> Tensor:
        """Return the final vectors of a field's top rows: -> (n, F)."""
        return self.network.propagate(tables, field, weights)

    def _energies(self, vectors: Tensor, facts: TripleBatch) -> tuple[Tensor, Tensor]:
        """Return the energies of true and false facts (eq. 22): (3T, D) -> two (T,)."""
        return energies(vectors, facts.relations, self.relation, self.project)

    def _attach(self, adapted: LayerWeights) -> LayerWeights:
        """Give adapted weights the history "shared weights plus a constant step", as `adapt_tasks` does."""
        slow = self.network.weights()
        parts = zip(slow.flat(), adapted.flat(), self.adapts(), strict=True)
        return slow.of(tuple(s + (t - s).detach() if f else s for s, t, f in parts))

    # -- what everything is computed from --------------------------------------------------------------------------------

    def node_vectors(self, rows: Tensor | None = None) -> Tensor:
        """Return e^0 of some nodes, or of all (eq. 9): -> (n, D)."""
        table = self.node if rows is None else self.node.index_select(0, rows)
        return table + self.bias if self.config.node_form == "table" else table @ self.embed.T + self.bias

    def tables(self, *, tracked: bool, meet: bool = True) -> Tables:
        """Compute what all tasks of a step share; `tracked` lets gradients reach phi (and W_r with `attention_grad`).

        Without `meet` nothing is drawn: for scoring (see `GatedNetwork.tables`).
        """
        with torch.set_grad_enabled(tracked and torch.is_grad_enabled()):
            vectors = self.node_vectors()
            differentiable = self.config.attention_grad and torch.is_grad_enabled()
            weights = self._attend(vectors)[None] if differentiable else self.attention_weights
            return self.network.tables(self.graph, vectors, weights, meet=meet)

    @torch.no_grad()
    def refresh(self) -> None:
        """Recompute the attention from the present vectors; the trainer calls this every `attention_every` steps."""
        vectors = self.node_vectors()
        self.attention_weights[0].copy_(self._attend(vectors))
        for level in range(1, self.attention_weights.shape[0]):
            below = self.network.layers(self.tables(tracked=False, meet=False), level)[-1]
            self.attention_weights[level].copy_(self._attend(below))

    def use_generator(self, rng: torch.Generator) -> None:
        """Draw dropout and neighbours from another generator; it must live on the model's device."""
        self.rng = self.network.rng = rng

    def _attend(self, vectors: Tensor) -> Tensor:
        """Return the attention over both sets, one after the other (eqs. 10-12): -> (E,)."""
        return torch.cat([attention(vectors, self.relation, self.project, edges) for edges in self.graph.sets])

    def _ranked_nodes(self, episodes: Episodes) -> Tensor:
        _, users, items = episodes.seeds()
        return torch.cat([users[episodes.tasks], items + self.graph.n_users])

    def _episode_field(self, tables: Tables, episodes: Episodes) -> Field:
        tasks, users, items = episodes.seeds()
        return self._field(tables, tasks, torch.cat([users, items + self.graph.n_users]), episodes.n_tasks)

    def _field(self, tables: Tables, tasks: Tensor, nodes: Tensor, n_tasks: int) -> Field:
        fan_out = self.config.fan_out if self.training else None
        # One task reads each node once anyway, and a GPU is better off with few large products.
        whole = fan_out is None and n_tasks > 1 and not nodes.is_cuda and self.network.separates_hubs()
        sizes = {"n_tasks": n_tasks, "n_nodes": self.graph.n_nodes}
        hub_from = HUB_DEGREE if whole else None
        return receptive_field(tables.kinds[1:], tasks, nodes, **sizes, fan_out=fan_out, rng=self.rng, hub_from=hub_from)

    # -- scores ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self) -> NodeVectors:
        """Propagate over the whole graph: all neighbours, no dropout."""
        layers = self.network.layers(self.tables(tracked=False, meet=False), len(self.config.dims))
        users = layers[0][: self.graph.n_users]
        trained = self.trained[: self.graph.n_users]
        newcomer = users[trained].mean(0) if trained.any() else users.new_zeros(users.shape[1])
        return NodeVectors(tuple(layers), self.network.read_out(layers), newcomer)

    def ready(self) -> Self:
        """Return this recommender with its vectors computed once; it shares all parameters, and `self` stays as it was."""
        served = copy.copy(self)
        served.vectors = self.encode()
        return served

    def factors(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of some users and of all items: (B,) -> (B, D), (I, D). Propagates unless it is `ready`."""
        vectors = self.vectors or self.encode()
        items = slice(self.graph.n_users, self.graph.n_users + self.graph.n_items)
        return vectors.of_users(users.to(vectors.final.device).long(), self.graph.n_users), vectors.final[items]

    def score_all(self, users: Tensor) -> Tensor:
        """Score every item: (B,) -> (B, I)."""
        left, right = self.factors(users)
        return left @ right.T

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score each user's own candidates: (B,), (B, C) -> (B, C)."""
        left, right = self.factors(users)
        return torch.einsum("bd,bcd->bc", left, right[items.long()])

    # -- what arrives later ----------------------------------------------------------------------------------------------

    def adapt(self, support: Support) -> Self:
        """Return a recommender that knows what arrived, by its edges alone; `metakg.train.adapt` also takes gradient steps."""
        return self.extend(support).ready()

    def extend(self, support: Support) -> Self:
        """Return a copy over the larger graph, to be trained on or made `ready`; new rows come from neighbours (`nn.rows`)."""
        old = self.view
        larger = old.extend(support)
        view = TrainView(larger.vocabulary, larger.interactions, larger.graph)  # former tasks are plain training pairs now
        v, edges = view.vocabulary, None
        if self.config.adapt_graph == "support":
            edges = Interactions(v.users.rows(support.users), v.items.rows(support.items))
        new = type(self)(self.config, view, torch.Generator().manual_seed(0), edges, attend=False)
        new = new.to(self.node)
        new.use_generator(self.rng)
        came = torch.from_numpy(origin(old.vocabulary, v))
        from_items = self.config.cold_users == "neighbours"
        graphs = self.graph, new.graph, came
        rows, trained = carry_nodes(self.node.detach(), self.trained, *graphs, users_from_items=from_items)
        carried = {"node": rows, "trained": trained}
        for name in ("relation", "project"):
            carried[name] = carry_relations(getattr(self, name).detach(), old.n_relations, view.n_relations)
        state = {name: value for name, value in self.state_dict().items() if name != "attention_weights"}
        new.load_state_dict(state | carried | {"attention_weights": new.attention_weights})
        new.refresh()
        return new.train(self.training)

    def over(self, view: TrainView) -> Self:
        """Return this recommender over a view with the same rows from which clicks or facts were taken away.

        Parameters stay as they were learnt; a pair that the view has no more is no edge, and a vector of a user's own
        (`metakg.train.online`) goes with any of the clicks that it was made from. Who has no row of his own is the mean then.
        """
        n, tensors = view.n_items, self.tensors()
        left = np.isin(self.edges.keys(n), view.interactions.keys(n))
        tensors |= {name: tensors[name][torch.from_numpy(left)] for name in ("edge_users", "edge_items")}
        if "moved_users" in tensors:
            assert self.vectors is not None
            before = self.view.interactions
            lost = before.select(~np.isin(before.keys(n), view.interactions.keys(n))).users
            moved, vectors = tensors["moved_users"], tensors["moved_vectors"].clone()
            changed = torch.from_numpy(np.isin(moved.numpy(), lost))
            late = moved >= self.graph.n_users
            vectors[changed & late] = self.vectors.final[: self.graph.n_users].mean(0)
            tensors |= {"moved_users": moved[~changed | late], "moved_vectors": vectors[~changed | late]}
        unused = torch.Generator().manual_seed(0)  # what it draws is overwritten
        return type(self).from_tensors(self.config, view, unused, tensors).train(self.training)

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters, the pairs that are edges (the attention follows from them), and the users moved since."""
        state = {name: value for name, value in self.state_dict().items() if name != "attention_weights"}
        state |= {"edge_users": torch.from_numpy(self.edges.users), "edge_items": torch.from_numpy(self.edges.items)}
        if self.vectors is not None and self.vectors.vectors is not None:
            state |= {"moved_users": torch.tensor(self.vectors.moved), "moved_vectors": self.vectors.vectors}
        return state

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` of an equal model returned, and be `ready`.

        Users who came after the graph was built (`metakg.train.online`) have a vector there and no row of their own.
        """
        v, rest = self.view.vocabulary, dict(tensors)
        if not {"node", "edge_users", "edge_items"} <= rest.keys():
            raise _foreign("no nodes or no edges", expected="node, edge_users, edge_items")
        users, items = (rest.pop(name).cpu().numpy() for name in ("edge_users", "edge_items"))
        moved, vectors = rest.pop("moved_users", torch.empty(0, dtype=torch.int64)), rest.pop("moved_vectors", None)
        n_users = v.n_users
        if len(moved):
            n_users = rest["node"].shape[0] - v.n_entities
            late = moved[moved >= n_users].sort().values
            if not 0 < n_users <= v.n_users or late.tolist() != list(range(n_users, v.n_users)) or moved.min() < 0:
                raise _foreign("users without a row or a vector", expected="one or the other for each user of the view")
        if len(users) and (users.max() >= n_users or items.max() >= v.n_items or min(users.min(), items.min()) < 0):
            raise _foreign("edges outside the vocabulary", expected="known rows")
        view = self.view if n_users == v.n_users else _first_users(self.view, n_users)
        rebuilt = type(self)(self.config, view, self.rng, Interactions(users, items), attend=False)
        rest.setdefault("trained", rebuilt.trained)  # bundles of before do not say
        super(MetaKG, rebuilt).load_tensors(rest | {"attention_weights": rebuilt.attention_weights})
        rebuilt.refresh()
        served = rebuilt.eval().ready()
        if len(moved):
            assert served.vectors is not None
            if vectors is None or vectors.shape != (len(moved), served.vectors.final.shape[1]):
                raise _foreign("vectors of moved users of another shape", expected="one vector for each of them")
            served.vectors = replace(served.vectors, moved=tuple(moved.tolist()), vectors=vectors)
            served.view = self.view
        self.__dict__.update(served.__dict__)


def _first_users(view: TrainView, n_users: int) -> TrainView:
    """Return a view without the users who came last."""
    v, pairs, about = view.vocabulary, view.interactions, view.graph.user
    users = IdMap(v.users.array.slice(0, n_users), kind=v.users.kind)
    graph = KnowledgeGraph(view.graph.entity, about.select(about.heads < n_users))
    return TrainView(replace(v, users=users), pairs.select(pairs.users < n_users), graph)


def _foreign(found: str, *, expected: str) -> CheckpointError:
    return CheckpointError("tensors of metakg-paper", found, expected=expected, fix="Save it again.")
