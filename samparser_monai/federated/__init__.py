"""Between hospitals: tuning on every site's own cases, in messages of the tuned part alone.

``updates`` (what is sent, what is refused, how it is averaged) and ``site`` (MONAI's client over
the shipped bundle) need no engine; ``flare`` and ``job`` are for NVIDIA FLARE and import it.
"""
