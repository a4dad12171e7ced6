"""Why an item is shown: typed paths from the user's own items, with their share of the score."""

from metakg.explain.paths import Edge, Explanation, Node, Path, Way, in_words, part_lost

__all__ = ["Edge", "Explanation", "Node", "Path", "Way", "in_words", "part_lost"]
