"""Chooses how a model is computed: by the compiled kernels where they can, else by torch."""

from __future__ import annotations

import logging

import torch

from inference.attention.torch_cpu import TILE, TorchPagedAttention
from inference.config import EngineConfig
from inference.kernels.build import KernelsUnavailable
from inference.model.decoder import Decoder
from inference.model.native import NativeDecoder, unsupported
from inference.model.runner import StepModel
from inference.model.source import WeightSource
from inference.quantization.base import linear_method

logger = logging.getLogger(__name__)


def build_model(source: WeightSource, config: EngineConfig, *, max_positions: int) -> StepModel:
    """The weights of ``source`` in ``config.weight_format``, with a KV cache of ``config.kv_cache_tokens``.

    fp32 is computed by torch always: it is the reference. Raises ``KernelsUnavailable`` when the settings
    insist on the kernels and there are none; what ``Decoder`` and ``check_layer`` raise."""
    num_blocks = config.kv_cache_tokens // config.block_size
    if config.device == "cpu" and config.weight_format != "fp32" and config.kernels != "off":
        reason = unsupported(source.config, config.block_size)
        try:
            if reason is not None:
                raise KernelsUnavailable(f"The kernels cannot run this model: {reason}.")
            return NativeDecoder(
                source,
                config.weight_format,
                num_blocks=num_blocks,
                max_positions=max_positions,
                num_threads=config.num_threads,
                instructions="" if config.kernels == "auto" else config.kernels,
                kv_cache_format=config.kv_cache_format,
            )
        except KernelsUnavailable as error:
            if config.kernels != "auto":
                raise
            logger.warning("%s Computing with torch, which is several times slower.", error)
    independent = config.weight_format == "int8"
    attention = TorchPagedAttention(
        source.config,
        num_blocks=num_blocks,
        block_size=config.block_size,
        device=config.device,
        dtype=torch.int8 if config.kv_cache_format == "int8" else torch.float32,
        independent_rows=independent,
    )
    decoder = Decoder(
        source,
        linear_method(config.weight_format, config.device),
        attention,
        max_positions=max_positions,
        device=config.device,
        alignment=TILE if independent else 1,
    )
    decoder.check(source, config.weight_format)
    return decoder
