"""How many numbers each method tunes: the column of the paper's Tables 2 and 4."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from samparser_monai.methods.adapter import adapter
from samparser_monai.methods.bases import bases
from samparser_monai.methods.bases_and_coefficients import bases_and_coefficients
from samparser_monai.methods.coefficients import coefficients
from samparser_monai.methods.coefficients_lora import coefficients_lora
from samparser_monai.methods.decoder_only import decoder_only
from samparser_monai.methods.fact import fact
from samparser_monai.methods.full import full
from samparser_monai.methods.late_lora import late_lora
from samparser_monai.methods.lora import lora
from samparser_monai.methods.lora_xs import lora_xs
from samparser_monai.methods.norms import norms
from samparser_monai.methods.s_sam import s_sam
from samparser_monai.methods.salt import salt
from samparser_monai.methods.svft import svft
from samparser_monai.methods.zero_shot import zero_shot

VARIANTS: dict[str, Callable[[Any], Any]] = {
    "zero_shot": zero_shot,
    "decoder_only": decoder_only,
    "decoder_only+coefficients": partial(decoder_only, decoder="coefficients"),
    "coefficients": coefficients,
    "coefficients+coefficients": partial(coefficients, decoder="coefficients"),
    "coefficients+frozen": partial(coefficients, decoder="frozen"),
    "coefficients@transformer": partial(coefficients, space="transformer"),
    "coefficients@both": partial(coefficients, space="both"),
    "bases": bases,
    "bases@transformer": partial(bases, space="transformer"),
    "bases@both": partial(bases, space="both"),
    "bases_and_coefficients": bases_and_coefficients,
    "bases_and_coefficients@transformer": partial(bases_and_coefficients, space="transformer"),
    "bases_and_coefficients@both": partial(bases_and_coefficients, space="both"),
    "lora_xs": lora_xs,
    "svft": svft,
    "norms": norms,
    "fact": fact,
    "late_lora": late_lora,
    "s_sam": s_sam,
    "s_sam@neck": partial(s_sam, space="neck", norms=False),
    "salt": salt,
    "lora": lora,
    "coefficients_lora": coefficients_lora,
    "adapter": adapter,
    "full": full,
}
"""``method@space+decoder``; without them the neck and all of the decoder, as in the paper."""


def count_trainable(network: nn.Module) -> dict[str, int]:
    """Count the trainable parameters of the encoder, of the names if any, and of the rest."""
    trained = {n: p.numel() for n, p in network.named_parameters() if p.requires_grad}
    encoder, names = (
        sum(count for name, count in trained.items() if name.startswith(part))
        for part in ("image_encoder.", "named_prompts.")
    )
    found = {"encoder": encoder, "decoder": sum(trained.values()) - encoder - names}
    return found | ({"names": names} if names else {})


def count_variants(build: Callable[[], Any]) -> dict[str, dict[str, int]]:
    """Count what each variant tunes, on networks that have shapes but no numbers."""
    with torch.device("meta"):
        return {name: count_trainable(apply(build())) for name, apply in VARIANTS.items()}
