"""`pipeline`: from a task and a checkpoint to something that is called with texts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from intermodal.errors import InputError, TaskError
from intermodal.pipelines.registry import pipeline_class, pipeline_of_checkpoint

if TYPE_CHECKING:
    from intermodal.pipelines.base import Pipeline
    from intermodal.processing.tokenizer import Tokenizer
    from intermodal.tasks.base import TaskModel

_LOADING = frozenset(
    (
        *("dtype", "torch_dtype", "device", "device_map", "backend", "quantization_config"),
        *("revision", "token", "use_auth_token", "subfolder", "cache_dir", "local_files_only", "force_download"),
        *("family", "strict", "config", "variant", "key_mapping", "ignore_mismatched_sizes", "gguf_file", "adapter"),
        "trust_remote_code",
    )
)


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | TaskModel | None = None,
    *,
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    image_processor: Any = None,
    feature_extractor: Any = None,
    processor: Any = None,
    batch_size: int = 1,
    progress: bool = True,
    model_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Pipeline:
    """Load a checkpoint for a task, to be called with texts or images; arguments and results are transformers'.

    Example:
        classify = intermodal.pipeline("text-classification", "hf://org/name")
        classify(["A fine day.", "A dull one."])  # [{"label": …, "score": …}, {…}]

    Args:
        task: `"text-classification"` (or `"sentiment-analysis"`), `"token-classification"` (`"ner"`), `"fill-mask"`,
            `"feature-extraction"`, `"text-generation"`, `"zero-shot-classification"`, `"question-answering"`,
            `"image-classification"` or `"image-text-to-text"`. None: what the checkpoint was saved as.
        model: `org/name` on the Hub, a folder, a file or any URI of `intermodal.load`; or a model it gave.
        tokenizer: in place of the checkpoint's own, or where to find one. The same holds for `image_processor`,
            `feature_extractor` and `processor`, of which there is at most one.
        batch_size: rows that are computed at a time, where a call does not say.
        progress: show progress bars in a terminal.
        model_kwargs: more keywords of `AutoModelFor….from_pretrained`; those that it does not know replace the keys of
            that name in config.json.
        options: keywords of `intermodal.load` (`dtype`, `revision`, `device`, `backend`, `config`, …), and those of
            calls, which then hold for all of them.

    Raises:
        TaskError: there is no such pipeline, or the checkpoint lacks the task's trained head.
        InputError: a keyword is unknown.
        IntermodalError: the checkpoint is refused; the message says what, and what to do.
    """
    chosen = None if task is None else pipeline_class(task)
    if model is None:
        raise TaskError("Name a checkpoint: pipeline(task, uri). None is taken by default, as answers depend on it.")
    loading = {name: options.pop(name) for name in list(options) if name in _LOADING}
    if not isinstance(model, str | os.PathLike):
        if loading or model_kwargs:
            raise InputError(f"{', '.join([*loading, *(model_kwargs or {})])}: the model is loaded already.")
        chosen = chosen or pipeline_of_checkpoint(getattr(model, "task", type(model).__name__))
        loaded = model
    else:
        if chosen is not None:
            check_names(chosen, options)
        keywords = {**(model_kwargs or {}), **loading}
        tokenizer = tokenizer if tokenizer is not None else _registered_tokenizer(model, keywords)
        registered = _load_registered(chosen, model, keywords)
        chosen, loaded = registered or _load(chosen, model, keywords, options, progress)
        check_names(chosen, options)
    if isinstance(tokenizer, str | os.PathLike):
        from intermodal.auto.tokenizer import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    made = _processor(image_processor=image_processor, feature_extractor=feature_extractor, processor=processor)
    return chosen(loaded, tokenizer, processor=made, batch_size=batch_size, progress=progress, **options)


def _processor(**given: Any) -> Any:
    """The one of these that was given, read where it is a name; None where there is none.

    Raises:
        InputError: there are several.
    """
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) > 1:
        raise InputError(f"{', '.join(named)}: a pipeline takes one of them, what makes arrays of its inputs.")
    for name, value in named.items():
        if isinstance(value, str | os.PathLike):
            from intermodal.auto import processors

            auto = {"image_processor": "AutoImageProcessor", "feature_extractor": "AutoFeatureExtractor"}
            return getattr(processors, auto.get(name, "AutoProcessor")).from_pretrained(value)
        return value
    return None


def check_names(chosen: type[Pipeline], options: dict[str, Any]) -> None:
    """Refuse unknown keywords before anything is fetched.

    Raises:
        InputError: names them.
    """
    unknown = [name for name in options if name not in chosen.option_names()]
    if unknown:
        raise InputError(
            f"{', '.join(unknown)}: pipeline() knows no such keyword for {chosen.task}. Of its calls: "
            f"{', '.join(sorted(chosen.option_names()))}; of loading: {', '.join(sorted(_LOADING))}. Keys of "
            "config.json go in config={…}."
        )


def _load_registered(
    chosen: type[Pipeline] | None, name: str | os.PathLike[str], keywords: dict[str, Any]
) -> tuple[type[Pipeline], Any] | None:
    """The pipeline's class and a model, by a class that the program registered with an auto class; or None."""
    from intermodal.auto.models import auto_classes

    for auto in auto_classes(chosen.model_task if chosen else None):
        own = auto.own_class(name, keywords)
        if own is not None:
            return chosen or pipeline_of_checkpoint(auto.task), own.from_pretrained(name, **keywords)
    return None


def _registered_tokenizer(name: str | os.PathLike[str], keywords: dict[str, Any]) -> Any:
    """The tokenizer of a checkpoint by a class that the program registered, or None."""
    from intermodal.auto.location import ACCESS
    from intermodal.auto.tokenizer import own_class

    own = own_class(name, keywords)
    access = {key: value for key, value in keywords.items() if key in ACCESS}
    return None if own is None else own.from_pretrained(name, **access)


def _load(
    chosen: type[Pipeline] | None,
    name: str | os.PathLike[str],
    keywords: dict[str, Any],
    options: dict[str, Any],
    progress: bool,
) -> tuple[type[Pipeline], TaskModel]:
    """The pipeline's class and its model. All is checked on headers before weights are read."""
    from dataclasses import asdict

    from intermodal.auto.location import take_location
    from intermodal.auto.model_arguments import take_load_arguments
    from intermodal.backend import choose
    from intermodal.examination import examine
    from intermodal.loading import load, load_examined

    keywords["device"] = _device(keywords.get("device"))
    location = take_location(name, keywords)
    arguments, quantization = take_load_arguments(keywords, location)
    if location.uri.endswith(".keras"):
        model = load(location.uri, **arguments)
        return chosen or pipeline_of_checkpoint(model.task), model
    choose(arguments.pop("backend", None))
    dtype, device = arguments.pop("dtype"), arguments.pop("device")
    for key in asdict(location.access):
        arguments.pop(key, None)
    examined = None
    if chosen is None:
        examined = examine(location.uri, None, access=location.access, **arguments)
        chosen = pipeline_of_checkpoint(examined.task)
        check_names(chosen, options)
    if examined is None or examined.task != chosen.model_task:
        examined = examine(location.uri, chosen.model_task, access=location.access, **arguments)
    if examined.plan.new:
        raise TaskError(
            f"{location.named} was saved for {examined.saved_task}, and holds no trained "
            f"{', '.join(examined.plan.new)}: {chosen.task} would give random answers. Train such a head first "
            f"(intermodal.load(uri, {chosen.model_task!r}), then fit), or take another checkpoint."
        )
    model = load_examined(examined, dtype, device=device, progress=progress)
    if quantization is not None:
        model.quantize(quantization)
    return chosen, model


def _device(device: Any) -> str | None:
    """A device as Keras names it: of a name, of transformers' number (-1 for the CPU), or of torch's object."""
    if device is None:
        return None
    if isinstance(device, int):
        return "cpu" if device < 0 else f"gpu:{device}"
    from intermodal.auto.model_arguments import device_name

    name = str(device)
    return device_name(name) if name.partition(":")[0] in ("cpu", "cuda", "gpu", "tpu", "auto") else name
