"""Clicks since training: the last word counts, order and repeats do not, and one user is nobody else's business."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metakg.engine import Clicks, Overlay
from metakg.engine.overlay import Counted

IDS = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(st.tuples(st.sampled_from(["u", "v", "w"]), st.lists(IDS), st.lists(IDS)))


def test_the_last_word_counts_and_of_one_breath_the_refusal() -> None:
    clicks = Clicks().then(["b", "a", "b"], [])
    assert clicks == Clicks(("a", "b"), ())
    assert clicks.then([], ["a"]) == Clicks(("b",), ("a",))
    assert clicks.then([], ["a"]).then(["a"], []) == clicks
    assert Clicks().then(["a"], ["a"]) == Clicks((), ("a",))
    assert Clicks().then(["a", "b"], ["c"]).without("a").without("c") == Clicks(("b",), ())


@given(STEPS)
def test_an_overlay_is_a_dictionary_that_never_changes(steps) -> None:
    overlay, plain = Overlay(), {}
    for user, liked, disliked in steps:
        before = dict(overlay.items())
        changed = overlay.put(user, overlay[user].then(liked, disliked))
        assert dict(overlay.items()) == before
        overlay, plain[user] = changed, plain.get(user, Clicks()).then(liked, disliked)
    kept = {user: clicks for user, clicks in plain.items() if clicks}
    assert dict(overlay.items()) == kept
    assert (set(overlay), len(overlay)) == (set(kept), len(kept))
    assert dict(Overlay.of(plain.items()).items()) == kept
    for user in plain:
        overlay = overlay.put(user, Clicks())
    assert (len(overlay), dict(overlay.items())) == (0, {})


@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 4), st.lists(IDS))
def test_the_order_and_the_portions_of_likes_do_not_matter(items, cut, again) -> None:
    portions = Clicks().then(items[:cut], []).then(items[cut:], []).then(again, [])
    assert portions == Clicks().then(["a", "b", "c", "d"], [])


def test_saying_it_again_gives_the_same_overlay() -> None:
    overlay = Overlay().put("u", Clicks(("a",)))
    assert overlay.put("u", Clicks(("a",))) is overlay
    assert overlay["nobody"] == Clicks()


def test_counting_walks_only_what_changed() -> None:
    asked: list[str] = []

    def of(user: str, clicks: Clicks) -> tuple[int, int, int]:
        asked.append(user)
        return 1, len(clicks.liked), len(clicks.disliked)

    counted = Counted(of)
    many = Overlay.of((f"u{n}", Clicks(("a", "b"), ("c",))) for n in range(5000))
    assert counted(many) == (5000, 10_000, 5000)
    assert len(asked) == 5000
    asked.clear()
    more = many.put("u7", Clicks(("a",))).put("new", Clicks((), ("x", "y")))
    assert counted(more) == (5001, 9_999 + 0, 5001)
    assert len(asked) < 100, "two of a thousand parts"
    assert counted(many) == (5000, 10_000, 5000)
