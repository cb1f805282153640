"""Ways to tune SAM's encoder: each a function from a network to the same network.

A method changes the network in place, is the identity until it is trained, and leaves
``requires_grad`` on what it tunes and on nothing else.
"""

from samparser_monai.methods.adapter import adapter
from samparser_monai.methods.bases import bases
from samparser_monai.methods.bases_and_coefficients import bases_and_coefficients
from samparser_monai.methods.coefficients import coefficients
from samparser_monai.methods.coefficients_lora import coefficients_lora
from samparser_monai.methods.counts import count_trainable, count_variants
from samparser_monai.methods.decoder_only import decoder_only
from samparser_monai.methods.fact import fact
from samparser_monai.methods.full import full
from samparser_monai.methods.late_lora import late_lora
from samparser_monai.methods.lora import lora
from samparser_monai.methods.lora_xs import lora_xs
from samparser_monai.methods.norms import norms
from samparser_monai.methods.rates import parameter_groups
from samparser_monai.methods.s_sam import s_sam
from samparser_monai.methods.salt import salt
from samparser_monai.methods.svft import svft
from samparser_monai.methods.zero_shot import zero_shot

__all__ = [
    "adapter",
    "bases",
    "bases_and_coefficients",
    "coefficients",
    "coefficients_lora",
    "count_trainable",
    "count_variants",
    "decoder_only",
    "fact",
    "full",
    "late_lora",
    "lora",
    "lora_xs",
    "norms",
    "parameter_groups",
    "s_sam",
    "salt",
    "svft",
    "zero_shot",
]
