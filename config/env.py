"""Every setting, read once from the environment, for the parts that know Django. The inference service, which does not,
reads the same names.

A name in upper case is the variable; a value from ``NAME_FILE`` (a file, for secrets) wins over ``NAME``.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, NonNegativeInt, PositiveInt, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Env(BaseSettings):
    """The settings of one installation, with the embedded mode's defaults."""

    model_config = SettingsConfigDict(env_prefix="TESSERA_", env_file=None, extra="ignore")

    mode: Literal["embedded", "production"] = Field(
        "embedded", description="One process with everything inside, or the parts apart."
    )
    debug: bool = Field(False, description="Django's debug pages. Refused in production.")
    secret_key: str = Field(
        "",
        description="Signs sessions and derives cache salts. Made and kept under var/ in the embedded mode; required in production.",
    )
    allowed_hosts: str = Field(
        "localhost,127.0.0.1,[::1]", description="Host names that are answered, separated by commas."
    )
    trusted_origins: str = Field(
        "", description="Origins such as https://search.example.org trusted for forms, separated by commas."
    )
    secure_cookies: bool = Field(False, description="Cookies and HSTS for https only. Set it behind TLS.")
    var_dir: Path = Field(ROOT / "var", description="All state of the embedded mode.")
    models_dir: Path = Field(
        Path.home() / ".cache" / "tessera" / "models", description="Where verified weights are kept."
    )
    hub_url: str = Field("https://huggingface.co", description="The model hub that weights are fetched from.")
    database_url: str = Field(
        "",
        description="postgresql://user:password@host:port/name?sslmode=require, special characters as %XX. Empty: SQLite under var/.",
    )
    broker_url: str = Field(
        "", description="Celery's broker, redis:// or amqp://. Empty: files under var/ and a worker thread."
    )
    redis_url: str = Field(
        "",
        description="Redis for the shared cache and the streams of answers. Empty: memory of the one process.",
    )
    qdrant_url: str = Field("", description="A Qdrant server. Empty: Qdrant Edge inside the process.")
    qdrant_api_key: str = Field("", description="The Qdrant server's key.")
    index_process: bool = Field(
        True, description="Qdrant Edge in a process of its own, so that none of its calls holds up a page."
    )
    index_open_shards: PositiveInt = Field(
        64,
        description="Organisations whose embedded index is open at a time; the least recently used is closed.",
    )
    s3_bucket: str = Field("", description="Bucket for uploaded files. Empty: var/files.")
    s3_endpoint_url: str = Field("", description="Endpoint of an S3-compatible storage.")
    inference_url: str = Field(
        "", description="The inference service. Empty: the engine runs in this process."
    )
    inference_api_key: str = Field(
        "", description="Bearer key between the web processes and the inference service."
    )
    remotes: str = Field(
        "", description="Servers besides the engine, as JSON: `{NAME: {url, tokenizer, ...}}`; see models.md."
    )
    routes: str = Field(
        "",
        description="Who answers for which model, as `NAME = BACKEND, BACKEND; ...`; the first is the default. Empty: the engine.",
    )
    price_per_hour: float = Field(
        0.0, description="What an hour of the engine's machine costs, for the cost of tokens in the metrics."
    )
    metrics_key: str = Field(
        "", description="Bearer key of who reads `/metrics`. Empty: only a signed-in operator may."
    )
    model: str = Field(
        "qwen2.5-coder-0.5b-instruct", description="The language model, by its name in the catalog."
    )
    model_format: Literal["fp32", "bf16", "int8", "int4"] = Field(
        "int8", description="Number format of the language model's matrices: fp32, bf16, int8 or int4."
    )
    kernels: Literal["auto", "avx512", "avx2", "off"] = Field(
        "auto",
        description="Compiled kernels of the models on the processor; `off` computes with torch.",
    )
    speculation: Literal["auto"] | NonNegativeInt = Field(
        "auto",
        description="Up to how many requests that decode at once draft tokens from their prompts, which changes no output; 0 never, `auto` as many as it pays for.",
    )
    embedding_model: str = Field(
        "all-MiniLM-L6-v2", description="The embedding model, by its name in the catalog."
    )
    embedding_format: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="Number format of the embedding model's matrices; `auto`: int8 where the compiled kernels run it, else fp32.",
    )
    max_model_len: int = Field(4096, description="Longest prompt plus output, in tokens.")
    kv_cache_tokens: int = Field(32768, description="Size of the paged KV cache, in tokens.")
    kv_cache_format: Literal["auto", "int8"] = Field(
        "auto", description="Keys and values in `int8`, half the memory of `auto`, which is bf16 or fp32."
    )
    num_threads: int = Field(
        0, description="Processor threads of the models; 0 takes what the process may use, 16 at most."
    )
    load_models: bool = Field(
        True, description="Load models in the serving process. Off for tests and commands."
    )
    context_tokens: int = Field(1400, description="Token budget of the passages in a prompt.")
    answer_passages: int = Field(
        0, ge=0, description="Most passages that the model reads for an answer; 0 goes by the model's size."
    )
    answer_length: Literal["auto", "brief", "full"] = Field(
        "auto",
        description="`brief` answers are a few words, `full` ones sentences; `auto`: a question for a fact gets a brief one.",
    )
    max_answer_tokens: int = Field(256, description="Longest answer, in tokens.")
    refuse_below: float = Field(
        0.30,
        ge=0,
        le=1,
        description="Below this probability that the passages answer it, a question is answered 'not in your documents'; for models that it was fitted for. 0 never refuses before writing.",
    )
    min_similarity: float = Field(
        0.30,
        description="The same for other models: below this best cosine of question and passage.",
    )
    unsupported_sentences: Literal["mark", "omit"] = Field(
        "mark",
        description="What becomes of sentences of an answer that no passage supports: shown and marked as such, or left out.",
    )
    evaluation_folder: str = Field(
        "", description="Where `manage.py evaluate NAME` looks for suites. Empty: only folders and files."
    )
    max_upload_mb: int = Field(100, description="Largest upload, in megabytes.")
    max_queued_files: int = Field(
        20_000, description="Most files of one organisation that wait to be read; more are refused with 429."
    )
    parse_memory_mb: int = Field(1024, description="Memory limit of the parsing process, in megabytes.")
    parse_wall_seconds: int = Field(90, description="Time limit of parsing one file, in seconds.")
    parse_cpu_seconds: int = Field(60, description="Processor time limit of parsing one file, in seconds.")
    parse_page_seconds: int = Field(
        15,
        description="Time limit of one page of a PDF, in seconds; a slower one is left to the next reader.",
    )
    parse_max_pages: int = Field(2000, description="Most pages, slides or sheets of one file.")
    parse_max_characters: int = Field(20_000_000, description="Most characters of text of one file.")
    parse_max_archive_ratio: int = Field(
        200,
        description="Most that an archive (docx, xlsx, EPUB, ...) may unpack to, in times its packed size.",
    )
    parse_max_unpacked_mb: int = Field(512, description="Most that an archive may unpack to, in megabytes.")
    parse_max_archive_entries: int = Field(10_000, description="Most entries of an archive.")
    parse_max_nesting: int = Field(3, description="How deep messages attached to messages are read.")
    parse_max_attachments: int = Field(100, description="Most attachments of one message.")
    ocr_max_pages: int = Field(
        100,
        description="Most pages without text of one file that are read from their pictures (OCR); 0: none.",
    )
    ocr_page_seconds: int = Field(
        60, description="Time limit of reading one page from its picture, in seconds."
    )
    ocr_memory_mb: int = Field(
        1536, description="Memory limit of the process that reads pages from their pictures, in megabytes."
    )
    read_ahead: Annotated[int, Field(ge=0, le=4)] = Field(
        1,
        description="Files that a worker reads while it embeds another, 0 to 4; those that are short may pass it, and more of "
        "them are read (up to 32, unless 0).",
    )
    lease_seconds: int = Field(
        60,
        description="A job whose worker was silent for so long is taken over; while its file is parsed, twice the parsing time limit and 30 s.",
    )
    sweep_seconds: int = Field(15, description="How often the sweeper looks for jobs that nobody works on.")
    signup: bool = Field(False, description="Whether strangers may create an account.")
    host: str = Field("127.0.0.1", description="Address that `make run` listens on.")
    port: int = Field(
        8000,
        description="Port that `make run` listens on. Also read from PORT.",
        validation_alias=AliasChoices("TESSERA_PORT", "PORT"),
    )
    demo_password: str = Field(
        "",
        description="Password of the demo accounts. Also read from DEMO_PASSWORD. Empty: a random one, kept under var/.",
        validation_alias=AliasChoices("TESSERA_DEMO_PASSWORD", "DEMO_PASSWORD"),
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @model_validator(mode="before")
    @classmethod
    def read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Takes ``TESSERA_X_FILE`` as the file that holds ``TESSERA_X``."""
        for name, field in cls.model_fields.items():
            variable = f"TESSERA_{name.upper()}"
            file = os.environ.get(f"{variable}_FILE")
            if file:
                values[variable if field.validation_alias else name] = _content(variable, file)
        return values


def names(value: str) -> list[str]:
    """The parts of a setting that is a list, separated by commas and any spaces."""
    return [part.strip() for part in value.split(",") if part.strip()]


def _content(variable: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{variable}_FILE names a file that cannot be read: {error}") from error


@lru_cache(maxsize=1)
def env() -> Env:
    """The one instance."""
    return Env()
