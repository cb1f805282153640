"""The methods by name, for configurations: ``samparser_monai.methods.named.lora``.

MONAI finds a ``_target_`` by ``pydoc.locate``, which from Python 3.12 on takes the file
``methods/lora.py`` for ``samparser_monai.methods.lora``.
"""

from samparser_monai.methods import *  # noqa: F403
