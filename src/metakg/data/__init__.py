"""The nouns: immutable, checked once when they are built."""

from metakg.data.dataset import Dataset
from metakg.data.graph import KnowledgeGraph, Triples
from metakg.data.ids import IdMap
from metakg.data.interactions import Interactions
from metakg.data.scenario import Scenario, Split
from metakg.data.view import Support, Tasks, TrainView
from metakg.data.vocabulary import Vocabulary

__all__ = [
    "Dataset",
    "IdMap",
    "Interactions",
    "KnowledgeGraph",
    "Scenario",
    "Split",
    "Support",
    "Tasks",
    "TrainView",
    "Triples",
    "Vocabulary",
]
