"""Every choice that MetaKG leaves open, as a setting: the default first, the other readings beside it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field as Setting
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from metakg.models.base import ModelConfig
from metakg.models.space import Choice, Space, Span


class MetaKGConfig(ModelConfig):
    """Settings of MetaKG as the paper writes it. The defaults follow it where it speaks."""

    space: ClassVar[Space] = {
        "weight_decay": Span(1e-6, 1e-1, log=True),
        "dims": Choice(((64, 64, 64), (64, 32, 16))),
        "inner_lr": Span(1e-3, 1e-1, log=True),
        "kg_weight": Span(0.1, 10.0, log=True),
        "outer": Choice(("gate_fix", "joint")),
    }

    kind: Literal["metakg-paper"] = "metakg-paper"
    arch: Literal["paper", "code"] = "paper"
    """The paper's network, or the released code's, which is another one (`metakg.models.metakg_released`)."""
    dim: PositiveInt = 64
    """Width D of node and relation vectors."""
    dims: tuple[PositiveInt, ...] = Setting((64, 64, 64), min_length=1)
    """Width of each layer's output; (64, 32, 16) comes closer to the number of weights that the paper counts."""
    outer: Literal["gate_fix", "literal", "joint"] = "gate_fix"
    """What the query loss teaches beside gamma: the gates (`gate_fix`), nothing (`literal`, as Algorithm 1 is written), or
    all of phi and omega as well (`joint`, as the authors' code does)."""
    order: Literal["first", "second"] = "first"
    """Whether the outer gradient looks through the inner step (eqs. 3-5) or not (Algorithm 1, line 9)."""
    inner: Literal["gamma", "gate", "both"] = "gamma"
    """What the inner step adapts: the aggregators (paper), the gates (authors' code), or both."""
    inner_lr: PositiveFloat = 1e-2
    """Step size k of the inner update (eq. 21)."""
    inner_steps: NonNegativeInt = 1
    """Number of inner updates; 0 is the ablation without the collaborative-aware learner."""
    inner_layers: Literal["all", "last"] = "all"
    """Adapt the aggregators of all layers, or of the last only (cheaper, an approximation)."""
    attention_level: Literal["layer0", "per_layer"] = "layer0"
    """Attention from the initial vectors for all layers, or from each layer's own input (under the shared gamma)."""
    attention_grad: bool = False
    """Let the ranking loss reach W_r through the attention; needs `outer = "joint"` and `fan_out = None`."""
    attention_every: PositiveInt = 50
    """Training steps between two refreshes of the attention."""
    gate_empty: Literal["bypass", "literal"] = "bypass"
    """A node with one kind of neighbours takes its message as it is, or multiplied by the gate as eq. 13 reads."""
    gate_shared: bool = False
    """One gate for all layers instead of one for each ("three fusion gates"); needs equal widths."""
    normalise: Literal["readout", "readout0", "none", "everywhere"] = "readout"
    """Scale vectors to length one: in the readout's copy of layers 1..L; of layer 0 too; never; or between layers as well
    (authors' code)."""
    readout: Literal["concat", "concat0", "sum0"] = "concat"
    """Final vector: layers 1..L end to end (eq. 16), with layer 0 too, or the sum of layers 0..L (authors' code)."""
    node_form: Literal["table", "projection"] = "table"
    """Eq. 9: a free table of node vectors plus a bias, or frozen TransR vectors with a learnt linear map."""
    facts: Literal["ckg", "kg"] = "ckg"
    """Facts of the triple loss: all edges of the collaborative graph, or the knowledge graph alone."""
    kg_weight: NonNegativeFloat = 1.0
    """Weight of the triple loss; 0 is the ablation without the knowledge-aware learner."""
    message_dropout: float = Setting(0.1, ge=0.0, lt=1.0)
    """Share of the numbers of every message zeroed in training."""
    edge_dropout: float = Setting(0.0, ge=0.0, lt=1.0)
    """Share of the edges above the first layer left out in training (the authors' code leaves out half)."""
    weight_decay: NonNegativeFloat = 1e-5
    """Weight of the squared length of the node vectors that a batch uses."""
    fan_out: PositiveInt | None = 10
    """Neighbours a node reads in training, shared by its two sets; None reads all. Ranking always reads all."""
    adapt_graph: Literal["all", "support"] = "all"
    """Edges after adaptation: training pairs and support, or the support alone (authors' code)."""
    cold_users: Literal["mean", "neighbours"] = "mean"
    """Vector of a new user: the mean of the trained users, or the mean of the vectors of the items clicked."""

    @model_validator(mode="before")
    @classmethod
    def _read_all(cls, given: Any) -> Any:
        # The released network knows no sampling, and a TOML file no null.
        return {"fan_out": None, **given} if isinstance(given, dict) and given.get("arch") == "code" else given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.attention_grad and (self.outer != "joint" or self.fan_out is not None):
            raise ValueError('attention_grad needs outer = "joint" and fan_out = None (sampled weights carry no gradient)')
        if self.attention_grad and self.attention_level != "layer0":
            raise ValueError('attention_grad needs attention_level = "layer0"')
        widths = {self.dim, *self.dims}
        if self.gate_shared and len({self.dim, *self.dims[:-1]}) > 1:
            raise ValueError(f"gate_shared needs equal widths, not dim {self.dim} and dims {self.dims}")
        if self.gate_shared and self.inner != "gamma":
            raise ValueError('gate_shared needs inner = "gamma": the steps of a shared gate would drift apart')
        if self.normalise == "readout0" and self.readout == "concat":
            raise ValueError('normalise = "readout0" needs a readout with layer 0: "concat0" or "sum0"')
        if self.arch == "code" and (self.inner, self.readout, self.normalise) != ("gate", "sum0", "everywhere"):
            raise ValueError('arch = "code" needs inner = "gate", readout = "sum0" and normalise = "everywhere"')
        if self.arch == "code" and (self.fan_out is not None or self.order == "second" or self.gate_shared):
            raise ValueError('arch = "code" needs fan_out = None, order = "first" and gates of each layer\'s own')
        if self.readout == "sum0" and len(widths) > 1:
            raise ValueError(f'readout = "sum0" needs equal widths, not dim {self.dim} and dims {self.dims}')
        return self
