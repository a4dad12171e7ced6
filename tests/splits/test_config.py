"""Settings: checked, frozen, and misspelling is an error."""

import pytest

from metakg.errors import ConfigError
from metakg.splits import split
from metakg.splits.config import ItemRule, PaperConfig, PublishedConfig, StrictConfig, configure


def test_each_protocol_has_its_settings():
    assert isinstance(configure("strict", None, {}), StrictConfig)
    assert isinstance(configure("paper", None, {}), PaperConfig)
    assert isinstance(configure("paper", "here", {}), PublishedConfig)


def test_text_from_a_command_line_is_understood():
    config = configure("paper", None, {"new_users": "0.3", "background_old_pairs": "false", "rule.min_items": "15"})
    assert config.new_users == 0.3
    assert config.background_old_pairs is False
    assert config.rule == ItemRule(min_items=15)


def test_settings_survive_a_round_trip():
    config = configure("strict", None, {"seed": 7, "min_support": 3})
    assert StrictConfig(**config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("loose", {}, r"split\.protocol: found 'loose'; expected 'paper' or 'strict'"),
        ("strict", {"new_users": 1.5}, r"split\.new_users: found 1\.5; expected a number below 1"),
        ("strict", {"new_users": 0}, r"split\.new_users: found 0"),
        ("strict", {"seed": -1}, r"split\.seed: found -1"),
        ("strict", {"min_support": "many"}, r"split\.min_support: found 'many'"),
        ("strict", {"background_old_pairs": True}, r"split\.background_old_pairs: found an unknown option"),
        ("strict", {"rule.min_items": 20}, r"split\.rule: found an unknown option"),
        ("paper", {"rule": 3, "rule.min_items": 20}, r"split\.rule"),
        ("paper", {"rule.max_items": 5}, r"split\.rule: .*max_items 5 is less than min_items 13"),
        ("paper", {"relaxed.min_items": 1}, r"split\.relaxed"),
        ("paper", {"sibling_limit": 3}, r"split\.sibling_limit: found an unknown option"),
    ],
)
def test_wrong_settings_are_named(protocol, options, message):
    with pytest.raises(ConfigError, match=message):
        configure(protocol, None, options)


def test_published_files_follow_the_paper():
    with pytest.raises(ConfigError, match=r"split\.published: found protocol 'strict'"):
        configure("strict", "here", {})


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        configure("strict", None, {}).seed = 2


def test_a_folder_is_no_data_set():
    with pytest.raises(TypeError, match=r"cuts a Dataset \(metakg\.read returns one\), not a str"):
        split("data")
