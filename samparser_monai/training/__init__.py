"""What trains and judges a network on pictures with masks: features, loss, engines' handlers."""

from samparser_monai.training.collating import collate

__all__ = ["collate"]
