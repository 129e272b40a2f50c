"""A checkpoint with an adapter on it: the model's tensors, some replaced, some with a low-rank update."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from intermodal.adapters.adapter_config import WEIGHTS, AdapterConfig
from intermodal.adapters.updates import Update
from intermodal.checkpoints.base import Checkpoint, TensorInfo
from intermodal.checkpoints.header import read_header
from intermodal.checkpoints.layouts import Identity
from intermodal.checkpoints.safetensors import SafetensorsCheckpoint
from intermodal.errors import CheckpointError, WeightError
from intermodal.weights.map import HUGGINGFACE, Weight, WeightMap, prefixed
from intermodal.weights.plan import Plan, find_tensor, name_in, prefix_of
from intermodal.weights.transforms import IDENTITY

if TYPE_CHECKING:
    from intermodal.processing.tokenizer import TokenizerParts
    from intermodal.sources.base import Repository

LEAD = "base_model.model."
"""What PEFT writes before every name."""

_FACTOR = re.compile(r"(.+)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?:\.weight)?")
_SHOWN = 4


class AdaptedCheckpoint(Checkpoint):
    """A model's checkpoint, whose values are read as PEFT's `merge_and_unload` would leave them.

    `bind` settles which tensors are changed; until then it is the model's checkpoint as it was. `take_linears` gives
    updates away, so that they can stay apart from the weights.

    Args:
        base: the model's, of SafeTensors.
        repository: the adapter's.
        config: its adapter_config.json.

    Raises:
        CheckpointError: the model's checkpoint is of another format, or the adapter holds no safetensors.
    """

    def __init__(self, base: Checkpoint, repository: Repository, config: AdapterConfig) -> None:
        if base.dialect != HUGGINGFACE:
            raise CheckpointError(
                f"{repository.uri} is an adapter, and {base.repository.uri} a {base.format} checkpoint: adapters go on "
                "SafeTensors. Name the model that they were made of: load(model, adapter=…)."
            )
        if not repository.has(WEIGHTS):
            raise CheckpointError(
                f"{repository.uri} has no {WEIGHTS}. Adapters in adapter_model.bin can run code when they are read, so "
                "they are never opened; load it with PEFT where you trust it, and save it again."
            )
        self.format, self.dialect, self.family_key = base.format, base.dialect, base.family_key
        self.config, self.metadata, self.repository = base.config, base.metadata, base.repository
        self.adapter_config, self.adapter_repository = config, repository
        self.tensors: Mapping[str, TensorInfo] = base.tensors
        self._base = base
        self._untied: dict[str, str] = {}
        self._orientations: dict[str, bool] = {}
        self._adapter = SafetensorsCheckpoint(repository, [read_header(repository, WEIGHTS)], Identity("", "", {}))
        self._elsewhere: dict[str, tuple[Checkpoint, str]] = {}
        self._factors: dict[str, dict[str, str]] = {}
        self._modules: dict[str, str] = {}

    # --- which tensors it changes ------------------------------------------------------------------------------------

    def bind(self, weight_map: WeightMap) -> bool:
        """Find the model's tensor for each of the adapter's.

        Args:
            weight_map: of the model.

        Returns:
            Whether the map ties a head to the embeddings that the adapter changed one of. Then nothing is settled, and
            `bind` has to be called again with the map of a model without the tie.

        Raises:
            WeightError: a tensor of the adapter belongs to nothing in the model, or does not fit it.
        """
        places = _places(weight_map, self._base.tensors)
        found = {name: _split(name) for name in self._adapter.tensors}
        unknown = [name for name, (module, _) in found.items() if module not in places]
        if unknown:
            more = f" … and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise WeightError(
                f"{WEIGHTS} of {self.adapter_repository.uri} does not fit {self._base.repository.uri}: the model has "
                f"nothing that is called {', '.join(unknown[:_SHOWN])}{more}. Was it trained on another model, or for "
                "another task? load(model, task, adapter=…) names both."
            )
        tied = {weight.name: weight.tied_to for weight in weight_map.weights if weight.tied_to}
        touched = {places[module][0].name for module, _ in found.values()}
        loose = [name for name, other in tied.items() if {name, other} & touched]
        if loose and not self.adapter_config.tied:
            self._untied = {name: tied[name] for name in loose}
            return True
        for module, factor in found.values():
            name = places[module][0].name
            if name in loose or (factor is not None and name in tied.values()):
                raise WeightError(
                    f"{WEIGHTS} of {self.adapter_repository.uri} changes {module.removeprefix(LEAD)}, which stays tied "
                    "to another (ensure_weight_tying): merge it with PEFT, and load what that writes."
                )
        self._elsewhere, self._factors, self._modules = {}, {}, {}
        for name, (module, factor) in found.items():
            target = places[module][1]
            if factor is None:
                self._elsewhere[target] = (self._adapter, name)
            else:
                self._factors.setdefault(target, {})[factor] = name
                self._modules[target] = module.removesuffix(".weight")
        self._copy_untied(weight_map)
        self.tensors = {**self._base.tensors, **{name: self._moved(name) for name in self._elsewhere}}
        self._orientations = {
            target: _swapped(places[f"{module}.weight"][0], self.adapter_config)
            for target, module in self._modules.items()
        }
        for target in self._factors:
            self._check(target)
        return False

    def take_linears(self, plan: Plan) -> dict[str, Update]:
        """Updates that can stay apart from their weights, by variable; what is read then has them no more.

        These are the plain ones, of linears that a tensor of the file makes alone.
        """
        uses = Counter(piece.source.name for pieces in plan.pieces.values() for piece in pieces)
        taken: dict[str, Update] = {}
        for variable, pieces in plan.pieces.items():
            piece, name = pieces[0], pieces[0].source.name
            alone = len(pieces) == 1 and uses[name] == 1 and piece.place is None
            as_stored = piece.alias.part is None and piece.alias.transform is IDENTITY
            plain = self._factors.get(name, {}).keys() == {"lora_A", "lora_B"}
            if plain and alone and as_stored and piece.weight.role == "linear":
                taken[variable] = self._update(name)
                del self._factors[name]
        return taken

    @property
    def merged(self) -> tuple[str, ...]:
        """Tensors that are read with an update or from the adapter."""
        return (*self._factors, *(name for name, (home, _) in self._elsewhere.items() if home is self._adapter))

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(self, name: str) -> np.ndarray:
        """See `Checkpoint.read`."""
        home, own = self._home(name)
        values = home.read(own)
        return self._update(name).applied(values) if name in self._factors else values

    def read_into(self, name: str, out: np.ndarray, row: int = 0) -> None:
        """See `Checkpoint.read_into`."""
        home, own = self._home(name)
        home.read_into(own, out, row)
        if name in self._factors:
            out[...] = self._update(name).applied(out, row)

    def read_together(self, targets: Mapping[str, np.ndarray]) -> None:
        """See `Checkpoint.read_together`."""
        changed = {name for name in targets if name in self._factors or name in self._elsewhere}
        self._base.read_together({name: out for name, out in targets.items() if name not in changed})
        for name in changed:
            self.read_into(name, targets[name])

    def map_copy_on_write(self, name: str) -> np.ndarray | None:
        """See `Checkpoint.map_copy_on_write`."""
        home, own = self._home(name)
        return None if name in self._factors else home.map_copy_on_write(own)

    def prepare(self) -> None:
        """See `Checkpoint.prepare`."""
        self._base.prepare()
        self._adapter.prepare()

    def tokenizer_parts(self) -> TokenizerParts | None:
        """The adapter's, where it brings one: tokens may have been added for it. Else the model's."""
        from intermodal.processing.load import tokenizer_from_repository

        return tokenizer_from_repository(self.adapter_repository) or self._base.tokenizer_parts()

    def close(self) -> None:
        """See `Checkpoint.close`."""
        self._base.close()
        self._adapter.close()

    # --- how it does it ----------------------------------------------------------------------------------------------

    def _home(self, name: str) -> tuple[Checkpoint, str]:
        return self._elsewhere.get(name, (self._base, name))

    def _moved(self, name: str) -> TensorInfo:
        home, own = self._elsewhere[name]
        return replace(home.tensors[own], name=name)

    def _copy_untied(self, weight_map: WeightMap) -> None:
        """A head that was tied is the embeddings' values as the model has them, where it has none of its own."""
        weights, own = weight_map.by_name(), prefix_of(weight_map, self._base.tensors)
        for head, other in self._untied.items():
            name = name_in(weights[head], HUGGINGFACE)
            _, info = find_tensor(weights[other], self._base.tensors, HUGGINGFACE, own)
            if info is not None and name not in self._base.tensors and name not in self._elsewhere:
                self._elsewhere[name] = (self._base, info.name)

    def _check(self, target: str) -> None:
        """Shapes and ranks of an update, from headers alone."""
        names, module = self._factors[target], self._modules[target].removeprefix(LEAD)
        embedding = "lora_embedding_A" in names
        kinds = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
        more = {"lora_magnitude_vector"} if self.adapter_config.dora and not embedding else set()
        where = f"{WEIGHTS} of {self.adapter_repository.uri}: {module}"
        if names.keys() != {*kinds, *more}:
            raise WeightError(f"{where} has {', '.join(sorted(names))}, expected {', '.join((*kinds, *sorted(more)))}.")
        a, b = (self._adapter.tensors[names[kind]].shape for kind in kinds)
        rank, shape = self.adapter_config.rank_of(module), self.tensors[target].shape if target in self.tensors else ()
        outer = (a[-1], b[0]) if embedding or self._orientations[target] else (b[0], a[-1])
        if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank or shape != outer:
            raise WeightError(
                f"{where}: {kinds[0]} {a} and {kinds[1]} {b} are no update of rank {rank} for {target} {shape}. Was it "
                "trained on another model?"
            )
        if more and self._adapter.tensors[names["lora_magnitude_vector"]].shape != b[:1]:
            raise WeightError(f"{where}: lora_magnitude_vector has not the shape {b[:1]}.")
        if more and self._orientations[target]:
            raise WeightError(f"{where}: DoRA on weights that are stored (in, out) is not read. Merge it with PEFT.")

    def _update(self, target: str) -> Update:
        values = {kind: np.array(self._adapter.read(name), np.float32) for kind, name in self._factors[target].items()}
        scale = self.adapter_config.scale_of(self._modules[target].removeprefix(LEAD))
        if "lora_embedding_A" in values:
            return Update(values["lora_embedding_A"], values["lora_embedding_B"], scale, swapped=True)
        lengths = values.get("lora_magnitude_vector")
        return Update(values["lora_A"], values["lora_B"], scale, self._orientations[target], lengths)


def _split(name: str) -> tuple[str, str | None]:
    """Of a tensor's name in an adapter: the tensor that it belongs to, and which factor of an update it is."""
    factor = _FACTOR.fullmatch(name)
    if factor is not None:
        return f"{factor[1]}.weight", factor[2]
    return name.replace(".base_layer.", ".").replace(".modules_to_save.", "."), None


def _places(weight_map: WeightMap, tensors: Mapping[str, TensorInfo]) -> dict[str, tuple[Weight, str]]:
    """What an adapter may call a tensor → the weight, and what the model's checkpoint calls it."""
    own = prefix_of(weight_map, tensors)
    found: dict[str, tuple[Weight, str]] = {}
    for weight in weight_map.weights:
        _, info = find_tensor(weight, tensors, HUGGINGFACE, own)
        lead = "" if weight.head else own
        name = prefixed(lead, name_in(weight, HUGGINGFACE)) if info is None else info.name
        leads = [""] if weight.head else [*weight_map.prefixes, weight_map.prefix, weight_map.base_prefix]
        for spelling in (name_in(weight, HUGGINGFACE), *weight.legacy):
            for each in leads:
                found.setdefault(LEAD + prefixed(each, spelling), (weight, name))
    return found


def _swapped(weight: Weight, config: AdapterConfig) -> bool:
    """Whether the file keeps the weight as (in, out). As PEFT does, the flag is not believed of others."""
    alias = weight.aliases.get(HUGGINGFACE)
    stored = alias.transform.stored_shape((2, 3)) if alias is not None else (2, 3)
    return config.fan_in_fan_out and stored == (3, 2)
