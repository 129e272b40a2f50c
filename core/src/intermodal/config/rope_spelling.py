"""The spellings of rotary parameters in config.json, in transformers 4 and 5, to and from their normal form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from intermodal.config.accounting import ABSENT, Account
from intermodal.config.fields import BOOLEAN, Check, integer, real
from intermodal.config.rope import ROPE_TYPES, RopeParameters

ROPE_KEYS = (
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "partial_rotary_factor",
    "original_max_position_embeddings",
)
"""Every top-level key that `rope_from_hf` takes and `rope_to_hf` may give."""

FLAT = "full_attention"
"""The layer kind of a model whose layers all have the same rotary embedding."""

_SCALE = real(least=1e-9, most=1e9)
"""Far around any real value, and near enough that no frequency leaves float32."""

_CHECKS: dict[str, Check] = {
    "rope_theta": real(least=1e-9, most=1e30),
    "partial_rotary_factor": real(above=0.0, most=1.0),
    "factor": real(least=1.0, most=1e9),
    "low_freq_factor": _SCALE,
    "high_freq_factor": _SCALE,
    "original_max_position_embeddings": integer(1, 1 << 31),
    "beta_fast": _SCALE.or_null(),
    "beta_slow": _SCALE.or_null(),
    "mscale": real(least=0.0, most=1e9).or_null(),
    "mscale_all_dim": real(least=0.0, most=1e9).or_null(),
    "attention_factor": _SCALE.or_null(),
    "truncate": BOOLEAN,
}
_REQUIRED = {"linear": ("factor",), "llama3": ("factor", "low_freq_factor", "high_freq_factor"), "yarn": ("factor",)}
_OPTIONAL = {
    "llama3": ("original_max_position_embeddings",),
    "yarn": (
        "original_max_position_embeddings",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "attention_factor",
        "truncate",
    ),
}


@dataclass(frozen=True)
class _TopLevel:
    """What config.json says beside the dicts of rotary parameters, and what holds where it says nothing."""

    given: Mapping[str, Any]
    default_theta: float
    max_position_embeddings: int
    theta_key: str = "rope_theta"


_CONTEXT = "original_max_position_embeddings"


def rope_from_hf(
    account: Account,
    *,
    default_theta: float,
    max_position_embeddings: int,
    layer_kinds: Sequence[str] | None = None,
    own_theta: Mapping[str, tuple[str, float]] | None = None,
) -> dict[str, RopeParameters]:
    """Read the rotary parameters of a config in any of their spellings.

    These are `rope_theta` with `rope_scaling` (its kind as `rope_type` or `type`), `rope_parameters` (one dict, or one
    for each layer kind), and `original_max_position_embeddings` or `partial_rotary_factor` beside them. A file may
    hold several spellings, as long as they say the same.

    Args:
        account: the config being read; problems are noted there.
        default_theta: what `rope_theta` is where nothing gives it.
        max_position_embeddings: the config's own; some kinds fall back to it.
        layer_kinds: kinds of layers that may each have parameters of their own; None where all layers are alike.
        own_theta: of these, the kinds that `rope_theta` and `rope_scaling` do not concern: for each, the top-level key
            of its base and the default. `rope_parameters` then has to name kinds; one that it leaves out is plain.

    Returns:
        Parameters for each layer kind, `FLAT` alone where all are alike. Empty where a problem was found.
    """
    before = len(account.problems)
    spelled = {}
    for key in ("rope_parameters", "rope_scaling"):
        value = account.take(key)
        if isinstance(value, Mapping):
            spelled[key] = value
        elif value is not None:
            account.refuse(key, value, "expected an object of rotary parameters, or null")
    given = {}
    for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if key in account.raw:
            given[key] = account.read(_CHECKS[key], key, account.take(key))
    kinds = tuple(layer_kinds or (FLAT,))
    tops = dict.fromkeys(kinds, _TopLevel(given, default_theta, max_position_embeddings))
    for kind, (key, theta) in (own_theta or {}).items():
        own = {"rope_theta": account.read(_CHECKS["rope_theta"], key, account.take(key))} if key in account.raw else {}
        tops[kind] = _TopLevel(own, theta, max_position_embeddings, key)

    found: dict[str, dict[str, RopeParameters]] = {}
    for key, value in spelled.items():
        nested = any(isinstance(item, Mapping) for item in value.values())
        if nested and layer_kinds is None:
            account.refuse(key, value, "parameters for each layer kind, where all layers of this family are alike")
        elif nested:
            unknown = sorted(set(value) - set(kinds) if own_theta else set(value) ^ set(kinds))
            accepted = (Mapping, type(None)) if own_theta else Mapping
            wrong = [kind for kind, item in value.items() if not isinstance(item, accepted)]
            if unknown or wrong:
                text = f"expected parameters for {', '.join(kinds)}; {', '.join(unknown or wrong)} differ"
                account.refuse(key, value, text)
                continue
            for kind, item in value.items():
                _check_context(account, f"{key}.{kind}", item or {}, given)
            found[key] = {kind: _read(account, f"{key}.{kind}", value.get(kind) or {}, tops[kind]) for kind in kinds}
        elif own_theta and key == "rope_parameters" and value:
            account.refuse(key, value, f"expected parameters for each of {', '.join(kinds)}, which differ")
        else:
            if own_theta:
                _check_context(account, key, value, given)
            found[key] = {
                kind: _read(account, key, {} if kind in (own_theta or {}) else value, tops[kind]) for kind in kinds
            }
    if not spelled:
        found["rope_theta"] = {kind: _read(account, "rope_theta", {}, tops[kind]) for kind in kinds}
    if len(account.problems) > before:
        return {}
    if len(found) == 2 and found["rope_parameters"] != found["rope_scaling"]:
        account.refuse("rope_scaling", spelled["rope_scaling"], "contradicts rope_parameters; drop one of the two")
        return {}
    return next(iter(found.values()))


def _check_context(account: Account, where: str, value: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse an original context that stands beside parameters of a layer kind: transformers does not look there."""
    kind = value.get("rope_type", value.get("type"))
    if kind in ("llama3", "yarn") and _CONTEXT in given and _CONTEXT not in value:
        account.refuse(_CONTEXT, given[_CONTEXT], f"transformers does not read it there; put it into {where}")


def rope_parameters_to_hf(rope: RopeParameters) -> dict[str, Any]:
    """One dict of parameters in the spelling of transformers 5."""
    parameters = {"rope_type": rope.rope_type, "rope_theta": rope.rope_theta}
    for item in fields(rope):
        value = getattr(rope, item.name)
        if item.name not in parameters and value != item.default:
            parameters[item.name] = value
    return parameters


def rope_to_hf(rope: RopeParameters) -> dict[str, Any]:
    """Top-level keys that say this in the spellings of transformers 5 and of transformers 4, both at once.

    transformers 5 reads the two as one; transformers 4 and tools written for it know only the second.
    """
    parameters = rope_parameters_to_hf(rope)
    scaling = {key: value for key, value in parameters.items() if key not in ("rope_theta", "partial_rotary_factor")}
    content: dict[str, Any] = {
        "rope_parameters": parameters,
        "rope_theta": rope.rope_theta,
        "rope_scaling": None if rope.rope_type == "default" else scaling,
    }
    if rope.partial_rotary_factor != 1.0:
        content["partial_rotary_factor"] = rope.partial_rotary_factor
    return content


def _read(account: Account, where: str, value: Mapping[str, Any], top: _TopLevel) -> RopeParameters:
    """One dict of parameters, with what stands beside it. After a problem the result is not used."""
    kind = _kind(account, where, value)
    if kind is None:
        return RopeParameters()
    allowed = ("rope_theta", "partial_rotary_factor", *_REQUIRED.get(kind, ()), *_OPTIONAL.get(kind, ()))
    values: dict[str, Any] = {}
    for key, item in value.items():
        if key in ("rope_type", "type"):
            continue
        if key in allowed:
            # transformers derives yarn's factor from the two context lengths where it is null.
            check = _CHECKS[key].or_null() if (kind, key) == ("yarn", "factor") else _CHECKS[key]
            values[key] = account.read(check, f"{where}.{key}", item)
        elif key in _CHECKS:
            account.inert[f"{where}.{key}"] = f'rope_type "{kind}" does not use it'
        else:
            account.foreign[f"{where}.{key}"] = item
    for key in _REQUIRED.get(kind, ()):
        if key not in values:
            account.refuse(f"{where}.{key}", ABSENT, f'missing, and rope_type "{kind}" needs it')
            values[key] = ABSENT
    for key, item in top.given.items():
        name = top.theta_key if key == "rope_theta" else key
        if key not in allowed:
            account.inert[name] = f'rope_type "{kind}" does not use it'
        elif values.setdefault(key, item) != item and ABSENT not in (item, values[key]):
            account.refuse(name, item, f"contradicts {where}.{key} = {values[key]:g}; drop one of the two")
    if ABSENT in values.values():
        return RopeParameters()
    values.setdefault("rope_theta", top.default_theta)
    if kind in ("llama3", "yarn"):
        values.setdefault("original_max_position_embeddings", top.max_position_embeddings)
    _check_together(account, where, kind, values, top)
    return RopeParameters(rope_type=kind, **values)


def _kind(account: Account, where: str, value: Mapping[str, Any]) -> str | None:
    """The rope type, which transformers before 4.43 spelled `type`."""
    given = {key: value[key] for key in ("rope_type", "type") if key in value}
    if len(given) == 2 and given["rope_type"] != given["type"]:
        account.refuse(f"{where}.type", given["type"], f"contradicts {where}.rope_type; drop it")
        return None
    kind = next(iter(given.values()), "default")
    if kind not in ROPE_TYPES:
        key = f"{where}.{next(iter(given))}"
        account.refuse(key, kind, f"this kind of rotary embedding is not supported; {', '.join(ROPE_TYPES)} are")
        return None
    return kind


def _check_together(account: Account, where: str, kind: str, values: dict[str, Any], top: _TopLevel) -> None:
    """Refuse what would divide by zero or turn a blend around, and fill in what derives from the rest."""
    if kind == "llama3" and values["high_freq_factor"] <= values["low_freq_factor"]:
        text = f"must be above low_freq_factor = {values['low_freq_factor']:g}"
        account.refuse(f"{where}.high_freq_factor", values["high_freq_factor"], text)
    if kind != "yarn":
        return
    if values["factor"] is None:
        values["factor"] = top.max_position_embeddings / values["original_max_position_embeddings"]
    fast, slow = values.get("beta_fast") or 32, values.get("beta_slow") or 1
    if fast < slow:
        account.refuse(f"{where}.beta_fast", fast, f"must not be below beta_slow = {slow:g}")
    if values["rope_theta"] <= 1:
        account.refuse(f"{where}.rope_theta", values["rope_theta"], "must be above 1: yarn divides by its log")
