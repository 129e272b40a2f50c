"""Core's own words of the command line. It imports nothing of intermodal, for every start reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A word of the command line.

    Attributes:
        name: the word.
        help: one line for `--help`.
        module: dotted name of a module with `configure(parser: argparse.ArgumentParser) -> None`, which adds the
            arguments, and `run(args: argparse.Namespace) -> int`, which gives the exit code. It is imported only
            when the word is used.
    """

    name: str
    help: str
    module: str


BUILTIN = (
    Command("generate", "load a model and continue a prompt", "intermodal.commands.generate"),
    Command("chat", "talk to a model", "intermodal.commands.chat"),
    Command("classify", "tell the labels of texts, the model's own or any", "intermodal.commands.classify"),
    Command("classify-image", "tell the labels of images", "intermodal.commands.classify_image"),
    Command("classify-audio", "tell the labels of recordings", "intermodal.commands.classify_audio"),
    Command("transcribe", "tell what is said in recordings", "intermodal.commands.transcribe"),
    Command("label-tokens", "tell the labels of words: names, places, …", "intermodal.commands.label_tokens"),
    Command("fill-mask", "tell what may stand behind a mask", "intermodal.commands.fill_mask"),
    Command("answer", "find the answer to a question in a text", "intermodal.commands.answer"),
    Command("ask-document", "find the answer to a question on a page", "intermodal.commands.ask_document"),
    Command("embed", "make a vector of each text", "intermodal.commands.embed"),
    Command("inspect", "tell from the headers alone what a checkpoint is", "intermodal.commands.inspect"),
    Command("convert", "write a checkpoint as a Hugging Face folder", "intermodal.commands.convert"),
    Command("plugins", "list the installed plugins", "intermodal.commands.plugins"),
    Command("new", "start a plugin for a new family", "intermodal.commands.new"),
)
