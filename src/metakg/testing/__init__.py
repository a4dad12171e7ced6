"""For authors of models and readers: toy data, planted data, the model contract, hypothesis strategies.

from metakg.testing import LearntContract, ModelContract, toy, toy_view, arriving, planted_small, planted_split, recall_at
from metakg.testing.told import drafts                                 # what a service is told, at random (extra `serve`)
from metakg.testing.strategies import datasets, interactions, triples      # needs hypothesis (extra `test`)
"""

from metakg.testing.contract import ModelContract
from metakg.testing.learnt import LearntContract
from metakg.testing.problem import planted_small, planted_split, recall_at
from metakg.testing.toy import arriving, toy, toy_view

__all__ = ["LearntContract", "ModelContract", "arriving", "planted_small", "planted_split", "recall_at", "toy", "toy_view"]
