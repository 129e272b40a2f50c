"""What this package adds to intermodal: the wav2vec 2.0 family. Importing it loads nothing heavy."""

from __future__ import annotations

from intermodal.api import Family, hookimpl

_OWN_HEAD = (
    "it is a class of the repository's own and none of transformers: its head has other tensors, and gives numbers on "
    "scales, such as arousal, in place of classes"
)

WAV2VEC2 = Family(
    name="wav2vec2",
    model_types=("wav2vec2",),
    config="intermodal_wav2vec2.config:Wav2Vec2Config",
    backbone="intermodal_wav2vec2.model:Wav2Vec2Backbone",
    weight_map="intermodal_wav2vec2.weights:weight_map",
    architectures={
        "Wav2Vec2Model": "feature-extraction",
        "Wav2Vec2ForCTC": "automatic-speech-recognition",
        "Wav2Vec2ForSequenceClassification": "audio-classification",
        "Wav2Vec2ForAudioFrameClassification": "audio-frame-classification",
        "Wav2Vec2ForXVector": "audio-xvector",
        "Wav2Vec2ForPreTraining": "pretraining",
    },
    task_classes={
        "automatic-speech-recognition": "intermodal_wav2vec2.heads:SpeechRecognition",
        "audio-frame-classification": "intermodal_wav2vec2.heads:FrameClassification",
        "audio-xvector": "intermodal_wav2vec2.heads:SpeakerVectors",
        "pretraining": "intermodal_wav2vec2.heads:Pretraining",
    },
    feature_extractor="intermodal_wav2vec2.feature_extractor:Wav2Vec2FeatureExtractor",
    processor="intermodal_wav2vec2.processor:Wav2Vec2Processor",
    refused={
        "Wav2Vec2ForSpeechClassification": _OWN_HEAD,
        "EmotionModel": _OWN_HEAD,
        "wav2vec2-conformer": "its layers have convolutions and relative positions; it is a family of its own",
        "wav2vec2-bert": "it reads spectrograms instead of samples; it is a family of its own",
        "hubert": "its config and tensors have other names; it is a family of its own",
        "wavlm": "its attention has gated relative positions; it is a family of its own",
        "unispeech": "its heads differ; it is a family of its own",
        "unispeech-sat": "its heads differ; it is a family of its own",
        "data2vec-audio": "its positions come from several convolutions; it is a family of its own",
    },
)


@hookimpl
def intermodal_families() -> list[Family]:
    """Give the wav2vec 2.0 family."""
    return [WAV2VEC2]
