"""Every model by its name: a literal table, and one settings type that tells them apart by `kind`.

To add a model: write its file, add one line to `MODELS` and one name to `AnyModelConfig` (see CONTRIBUTING).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from metakg import rng as random
from metakg.data import TrainView
from metakg.errors import ConfigError, complaint
from metakg.models.base import ModelConfig, Recommender
from metakg.models.blend import Blend, BlendConfig
from metakg.models.cfkg import CFKG, CfkgConfig
from metakg.models.ckan import CKAN, CkanConfig
from metakg.models.cke import CKE, CkeConfig
from metakg.models.fm import FM, FmConfig
from metakg.models.item_knn import ItemKnn, ItemKnnConfig
from metakg.models.kg_knn import KgKnn, KgKnnConfig
from metakg.models.kgat import KGAT, KgatConfig
from metakg.models.kgcn import KGCN, KgcnConfig
from metakg.models.mcrec import Mcrec, McrecConfig
from metakg.models.melu import Melu, MeluConfig
from metakg.models.metahin import MetaHin, MetaHinConfig
from metakg.models.metakg import MetaKG, MetaKGConfig
from metakg.models.metakg_paper import MetaKG as PaperMetaKG
from metakg.models.metakg_paper_config import MetaKGConfig as PaperMetaKGConfig
from metakg.models.metakg_released import network_of
from metakg.models.nfm import NFM, NfmConfig
from metakg.models.popularity import Popularity, PopularityConfig
from metakg.models.ripplenet import RippleNet, RippleNetConfig
from metakg.models.ugrec import UGRec, UgrecConfig
from metakg.models.walk import Walk, WalkConfig

MODELS: dict[str, type[Recommender]] = {
    "blend": Blend,
    "cfkg": CFKG,
    "ckan": CKAN,
    "cke": CKE,
    "fm": FM,
    "item-knn": ItemKnn,
    "kg-knn": KgKnn,
    "kgat": KGAT,
    "kgcn": KGCN,
    "mcrec": Mcrec,
    "melu": Melu,
    "metahin": MetaHin,
    "metakg": MetaKG,
    "metakg-paper": PaperMetaKG,
    "nfm": NFM,
    "popularity": Popularity,
    "ripplenet": RippleNet,
    "ugrec": UGRec,
    "walk": Walk,
}
"""Registry name -> class. The training-free floors stand in every table."""

FLOORS = ("popularity", "item-knn", "kg-knn", "walk", "blend")
"""Models that need no training, weakest idea first."""

AnyModelConfig = Annotated[
    BlendConfig
    | CfkgConfig
    | CkanConfig
    | CkeConfig
    | FmConfig
    | ItemKnnConfig
    | KgatConfig
    | KgcnConfig
    | KgKnnConfig
    | McrecConfig
    | MeluConfig
    | MetaHinConfig
    | MetaKGConfig
    | NfmConfig
    | PaperMetaKGConfig
    | PopularityConfig
    | RippleNetConfig
    | UgrecConfig
    | WalkConfig,
    Field(discriminator="kind"),
]
"""Settings of any model; `kind` decides which."""

_ADAPTER: TypeAdapter[ModelConfig] = TypeAdapter(AnyModelConfig)


def config_for(name: str, settings: dict[str, Any] | None = None) -> ModelConfig:
    """Return the settings of a model: the defaults, overridden by `settings`.

    Raises:
        ConfigError: the model or a setting is unknown, or a value is not allowed.
    """
    if name not in MODELS:
        raise ConfigError("model", repr(name), expected=f"one of {', '.join(sorted(MODELS))}", fix="Check the spelling.")
    try:
        return _ADAPTER.validate_python({**(settings or {}), "kind": name})
    except ValidationError as err:
        first = err.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != name)
        found, expected = complaint(first)
        raise ConfigError(
            f"setting {place} of {name}" if place else f"the settings of {name}",
            found,
            expected=expected,
            fix=f'"metakg doctor {name}" lists its settings.',
        ) from err


def build(config: ModelConfig, view: TrainView, seed: int) -> Recommender:
    """Build a model from its settings and training data; all its randomness comes from `seed`."""
    generator: torch.Generator = random.torch_generator(seed, f"init/{config.kind}")
    return _class_of(config)(config, view, generator)


def rebuild(config: ModelConfig, view: TrainView, seed: int, tensors: dict[str, Tensor]) -> Recommender:
    """Return the model of these settings and this view whose tensors these are.

    Raises:
        CheckpointError: a tensor is missing, unexpected, or of another shape.
    """
    generator = random.torch_generator(seed, f"init/{config.kind}")
    return _class_of(config).from_tensors(config, view, generator, tensors)


def _class_of(config: ModelConfig) -> type[Recommender]:
    if isinstance(config, PaperMetaKGConfig):  # two networks under one name
        return network_of(config)
    return MODELS[config.kind]
