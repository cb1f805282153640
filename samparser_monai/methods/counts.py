"""How many numbers a method tunes."""

from torch import nn


def count_trainable(network: nn.Module) -> dict[str, int]:
    """Count the trainable parameters of the encoder and of the rest, shared ones once."""
    trained = {n: p.numel() for n, p in network.named_parameters() if p.requires_grad}
    encoder = sum(count for name, count in trained.items() if name.startswith("image_encoder."))
    return {"encoder": encoder, "decoder": sum(trained.values()) - encoder}
