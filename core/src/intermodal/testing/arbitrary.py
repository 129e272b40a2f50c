"""Whatever a config.json may hold: what a config class must read and write back, or refuse.

hypothesis is a test dependency: it is imported only when these functions are called.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from intermodal.errors import ConfigError

if TYPE_CHECKING:
    from intermodal.config import ModelConfig

_ODD = (10**18, 10**400, "4096", "yarn", "llama3")


def check_any_config(
    config_class: type[ModelConfig], more: Callable[[Any], None] | None = None, *, examples: int = 400
) -> None:
    """Fail where some config.json is neither refused nor the same once it was read, written and read again.

    Args:
        config_class: of a family.
        more: what has to hold of a config that was read.
        examples: how many files to try.
    """
    from hypothesis import given, settings
    from hypothesis import strategies as st

    from intermodal.config import RopeParameters

    numbers = st.integers(-2, 64) | st.floats()
    scalars = st.none() | st.booleans() | numbers | st.text(max_size=4) | st.sampled_from(_ODD)
    anything = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    )
    keys = st.sampled_from([*sorted(config_class.known_keys()), "other"])
    rope = st.dictionaries(
        st.sampled_from([*RopeParameters.__dataclass_fields__, "type", "other"]), scalars, max_size=6
    )
    ropes = st.dictionaries(st.sampled_from(["rope_parameters", "rope_scaling"]), rope, max_size=2)

    @settings(max_examples=examples, deadline=None, database=None)
    @given(st.dictionaries(keys, anything, max_size=4), ropes)
    def check(raw: dict[str, Any], rotary: dict[str, Any]) -> None:
        try:
            config, report = config_class.from_hf(raw | rotary)
        except ConfigError:
            return
        json.dumps([report.to_json(), report.lines()])
        assert config_class.from_hf(json.loads(json.dumps(config.to_hf())))[0] == config
        if more is not None:
            more(config)

    check()
