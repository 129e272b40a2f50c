"""Kit: every architecture computes what transformers does, whole and step by step, padded, batched and reloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from intermodal.testing.family_tests.subject import GENERATION, Subject, differences, outputs_of
from intermodal.testing.references import Case

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel

WINDOW = "sliding_window"
ONE_RESULT_A_TEXT = ("feature-extraction", "text-classification")  # beside the hidden states of tokens
FIRST_STEP = 3  # tokens that a cached run starts with; each of the others is a step of its own


class ModelTests:
    """Outputs of the tiny model."""

    @pytest.mark.backend
    def test_architecture(self, architecture: str, subject: Subject) -> None:
        """Each declared architecture, without padding and with it on either side."""
        reference = subject.reference(architecture)
        model = subject.load(reference)
        assert model.task == subject.task(architecture)
        for case in subject.cases(model.task):
            subject.assert_equals_reference(model, reference, case, about=architecture)

    @pytest.mark.backend
    def test_rows_of_a_batch_are_computed_apart(self, subject: Subject) -> None:
        """A row is not changed by the one beside it."""
        model = subject.load(subject.reference())
        inputs = subject.inputs(subject.task())
        together = outputs_of(model, inputs)
        for row in range(len(inputs[model.main_input])):
            alone = Case({}, outputs_of(model, {name: x[row : row + 1] for name, x in inputs.items()}))
            wrong = differences({name: x[row : row + 1] for name, x in together.items()}, alone, 1e-5)
            assert not wrong, f"row {row} of a batch is not what it is alone: {wrong}"

    @pytest.mark.backend
    def test_texts_side_by_side_are_what_each_is_alone(self, architecture: str, subject: Subject) -> None:
        """In one row of tokens, where the backbone says that it reads texts so."""
        from intermodal.tasks.packing import PACKABLE, side_by_side

        subject.needs("texts side by side", subject.task(architecture) in ONE_RESULT_A_TEXT)
        model = subject.load(subject.reference(architecture))
        subject.needs("texts side by side", model.backbone.reads_packed)
        arrays = {name: x for name, x in subject.inputs(model.task).items() if name in PACKABLE - {"attention_mask"}}
        width = arrays["input_ids"].shape[1]
        alone = [{name: x[:1, :length] for name, x in arrays.items()} for length in (width, 1, width // 2)]
        rows = {name: [row[name][0].tolist() for row in alone] for name in arrays}
        ((members, inputs),) = side_by_side(rows)
        together = outputs_of(model, inputs)
        for number, member in enumerate(members):
            span = slice(inputs["text_begins"][number], inputs["text_ends"][number] + 1)
            got = {name: x[:, span] if len(x) == 1 else x[number : number + 1] for name, x in together.items()}
            wrong = differences(got, Case({}, outputs_of(model, alone[member])), 1e-5)
            assert not wrong, f"a text is not what it is alone (`reads_packed`): {wrong}"

    @pytest.mark.backend
    def test_longer_than_the_window(self, subject: Subject) -> None:
        """Sequences of five times the window."""
        subject.needs("window", WINDOW in subject.config_class.checks())
        reference = subject.reference(None, {WINDOW: 8})
        model = subject.load(reference)
        for case in ("plain", "left"):
            subject.assert_equals_reference(model, reference, case, about=f"{WINDOW} = 8 of 40 tokens")

    @pytest.mark.backend
    @pytest.mark.parametrize("case", ["plain", "left"])
    def test_cached_steps_are_the_whole(self, case: str, subject: Subject) -> None:
        """Logits of every position, one token at a time."""
        subject.needs("text generation", GENERATION in subject.family.architectures.values())
        windowed = WINDOW in subject.config_class.checks()
        architecture = next(a for a in subject.architectures if subject.task(a) == GENERATION)
        reference = subject.reference(architecture, {WINDOW: 8} if windowed else {})
        expected = reference.case(case)
        got = {"logits": cached_logits(subject.load(reference), expected.inputs)}
        wrong = differences(got, Case(expected.inputs, {"logits": expected.outputs["logits"]}), 1e-4)
        assert not wrong, f"step by step through the cache, {case} inputs: {'; '.join(wrong)}"

    def test_inputs_that_nothing_reads_are_refused(self, subject: Subject) -> None:
        """A mask under another name would be passed over without a word."""
        from intermodal.errors import InputError

        model = subject.load(subject.reference())
        inputs = subject.inputs(subject.task())
        unread = {name: np.zeros_like(inputs[model.main_input]) for name in ("padding_mask", "attention_maks")}
        for name, values in unread.items():
            with pytest.raises(InputError, match=f"{name} is no input of this model"):
                model({**inputs, name: values})

    @pytest.mark.backend
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_keras_file(self, dtype: str, subject: Subject, tmp_path: Path) -> None:
        """Saved and loaded by Keras: same outputs, bit for bit, same dtypes."""
        import keras

        model = subject.load(subject.reference(dtype=None if dtype == "float32" else dtype))
        inputs = subject.inputs(subject.task())
        model.save(tmp_path / "model.keras")
        again: Any = keras.models.load_model(tmp_path / "model.keras")
        assert [str(v.dtype) for v in again.variables] == [str(v.dtype) for v in model.variables]
        expected = outputs_of(model, inputs)
        for name, values in outputs_of(again, inputs).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)

    @pytest.mark.backend
    def test_symbolic_call_tells_the_shapes(self, architecture: str, subject: Subject) -> None:
        """Keras is told the shapes that come out."""
        import keras

        model = subject.load(subject.reference(architecture))
        inputs = subject.inputs(subject.task(architecture))
        symbolic = {name: keras.KerasTensor(x.shape, dtype=str(x.dtype)) for name, x in inputs.items()}
        told = model.compute_output_spec(symbolic)
        named = told if isinstance(told, dict) else {"logits": told}
        got = outputs_of(model, inputs)
        shapes = {name: tuple(spec.shape) for name, spec in named.items()}
        assert shapes == {name: values.shape for name, values in got.items()}


def cached_logits(model: TaskModel, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Logits (B, T, V) of a text that is fed to the model through its cache: a few tokens first, then one at a time."""
    from keras import ops

    from intermodal.layers.step import Step

    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    batch, length = ids.shape
    weights, cache = model.tensors(), model.backbone.new_cache(batch, length)
    valid = None if mask is None else ops.convert_to_tensor(mask)
    found: list[np.ndarray] = []
    for start in (0, *range(FIRST_STEP, length)):
        end = max(start + 1, FIRST_STEP)
        positions = np.broadcast_to(np.arange(start, end, dtype="int32"), (batch, end - start))
        tokens: list[Any] = [ops.convert_to_tensor(np.ascontiguousarray(x)) for x in (ids[:, start:end], positions)]
        step = Step(*tokens, valid=valid, cache=cache, offset=start)
        found.append(np.asarray(ops.convert_to_numpy(model.logits(weights, step))))  # pyright: ignore
        cache = step.cache
    return np.concatenate(found, axis=1)
