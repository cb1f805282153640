"""Ways to tune SAM's encoder: each a function from a network to the same network.

A method changes the network in place, is the identity until it is trained, and leaves
``requires_grad`` on what it tunes and on nothing else.
"""

from samparser_monai.methods.coefficients import coefficients
from samparser_monai.methods.decoder_only import decoder_only
from samparser_monai.methods.parts import count_trainable, parameter_groups

__all__ = ["coefficients", "count_trainable", "decoder_only", "parameter_groups"]
