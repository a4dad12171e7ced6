"""What may be sent and what comes back. Unknown fields, control characters and numbers out of range are refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from metakg.explain import Way

SLASH = "\ue000"
"""Stands for a slash within one part of a path (see `gate`); an id must not hold it."""
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\uE000]+$"
MOST_EVENTS = 1_000
MOST_ITEMS = 1_000
MOST_FACTS = 1_000
MOST_ANSWERS = 200
MOST_EXPLAINED = 50

Id = Annotated[str, Field(min_length=1, max_length=256, pattern=_PRINTABLE, description="External id.", examples=["i07"])]
PathId = Annotated[str, BeforeValidator(lambda text: text.replace(SLASH, "/")), *Id.__metadata__]
Label = Annotated[str, Field(min_length=1, max_length=500, pattern=_PRINTABLE, description="Readable name.")]
Number = Annotated[int, Field(ge=1, le=MOST_ANSWERS, description="How many at most.")]
Diversity = Annotated[
    float, Field(ge=0, le=1, allow_inf_nan=False, description="0: by score alone; up to 1: unlike each other.")
]
Items = Annotated[list[Id], Field(max_length=MOST_ITEMS)]


class Body(BaseModel):
    """Base of what is sent."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Feedback(Body):
    """One thing that a user did."""

    user: Id
    item: Id
    kind: Literal["like", "dislike", "click", "undo"]
    """`click` counts as `like`; `undo` takes back what was said of the item since training."""
    time_s: Annotated[int, Field(ge=0, le=253_402_300_799)] | None = None
    """UTC seconds; now, if left out."""
    id: Id | None = None
    """Your own id of the event: sent twice, it counts once."""


Feedbacks = Annotated[
    Annotated[list[Feedback], Field(min_length=1, max_length=MOST_EVENTS), Tag("many")] | Annotated[Feedback, Tag("one")],
    Discriminator(lambda value: "many" if isinstance(value, list) else "one"),
]


class SessionAsk(Body):
    """Recommend to somebody without an account; nothing is kept."""

    liked: Items = []
    disliked: Items = []
    n: Number = 10
    deny: Items = []
    """Not to be shown."""
    allow: Items | None = None
    """Only these may be shown; null allows all."""
    diversity: Diversity = 0.0
    explain: bool = False
    """Add reasons to each item."""


class SessionWhy(Body):
    """Why an item is shown to somebody without an account."""

    liked: Items = []
    disliked: Items = []
    item: Id
    limit: Annotated[int, Field(ge=1, le=20)] = 3


class FactIn(Body):
    """A fact about a user."""

    relation: Id
    entity: Id


class ItemFact(FactIn):
    """A fact about an item."""

    entity_label: Label | None = None
    """Readable name of the entity, if it is new."""


class UserIn(Body):
    """A user who is new or changed. Facts are added to those there are."""

    label: Label | None = None
    facts: Annotated[list[FactIn], Field(max_length=MOST_FACTS)] = []


class ItemIn(Body):
    """An item that is new or changed. Facts are added to those there are."""

    label: Label | None = None
    entity: Id | None = None
    """The item's id in the knowledge graph, if it has one of its own."""
    facts: Annotated[list[ItemFact], Field(max_length=MOST_FACTS)] = []


class PreviewIn(Body):
    """A brand-new item that is only thought of."""

    label: Label | None = None
    facts: Annotated[list[ItemFact], Field(min_length=1, max_length=100)]
    n: Number = 10


class TripleIn(Body):
    """A fact between two entities; an item's id stands for its entity."""

    head: Id
    relation: Id
    tail: Id


Triples = Annotated[list[TripleIn], Field(min_length=1, max_length=MOST_FACTS)]


class SwapIn(Body):
    """Another bundle to answer from."""

    bundle: Annotated[str, Field(min_length=1, max_length=1024, pattern=_PRINTABLE)]
    """A folder within the one that the server was started with (`--bundles`)."""


# -- what comes back: for the description of the interface; answers are written by `answers.py` -----------------------------


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    field: str | None
    retry_after_s: int | None


class Error(BaseModel):
    """Every answer that is no success."""

    error: ErrorBody


class ReasonOut(BaseModel):
    """A path from an own item to the recommended one; nodes and edges take turns."""

    share: float
    text: str
    path: list[dict[str, Any]]


class Recommended(BaseModel):
    """One item."""

    item: str
    label: str
    score: float
    way: Way
    reasons: list[ReasonOut] | None = None


class Recommendations(BaseModel):
    """Items, best first, and how the answer was made."""

    user: str | None
    way: str
    model: str
    version: str
    items: list[Recommended]


class Kept(BaseModel):
    """What was kept; it is on disk."""

    accepted: int
    duplicates: int


class ItemRef(BaseModel):
    """An item."""

    item: str
    label: str


class Explanation(BaseModel):
    """Why an item is shown."""

    user: str | None
    item: ItemRef
    score: float
    rank: int
    score_without: float
    rank_without: int
    way: Way
    clicked: bool
    faithfulness: float
    reasons: list[ReasonOut]


class FactOut(BaseModel):
    """A fact about an item."""

    relation: str
    relation_label: str
    inverse: bool
    entity: str
    entity_label: str
    is_item: bool


class ItemOut(ItemRef):
    """All that is known of an item."""

    popularity: int
    facts: list[FactOut]


class Neighbours(ItemRef):
    """Items close to one."""

    items: list[Recommended]


class ReachedOut(BaseModel):
    """A user whom an item would reach."""

    user: str
    label: str
    score: float


class Reach(BaseModel):
    """Whom an item would reach."""

    users: list[ReachedOut]


class Preview(Reach):
    """Whom a new item would reach, and what it is like."""

    similar: list[Recommended]


class FoundOut(BaseModel):
    """Something that was found."""

    id: str
    label: str
    popularity: int


class Results(BaseModel):
    """What a search found, popular first."""

    results: list[FoundOut]


class UserOut(BaseModel):
    """What is kept of a user beyond the bundle, and how he is answered."""

    user: str
    label: str
    way: str
    liked: list[str]
    disliked: list[str]
    events: list[dict[str, Any]]
    next: int | None
    """Ask again with this as `after`, if there are more events."""


class Status(BaseModel):
    """How the service is."""

    model: str
    version: str
    bundle: str
    uptime_s: float
    counts: dict[str, int]
    cold_start: list[dict[str, Any]]
    requests: dict[str, Any]
    store: dict[str, Any]
    adapted_users: int


class Health(BaseModel):
    """Alive, or ready."""

    status: str


class Swapped(BaseModel):
    """The bundle that answers now."""

    bundle: str
    version: str
    took_s: float


class BackedUp(BaseModel):
    """A backup that was made."""

    file: str
    events: int
    answers: int
    last: int
    bytes: int
