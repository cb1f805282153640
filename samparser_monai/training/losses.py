"""The loss of the paper (Eq. 5) on logits."""

from monai.losses import DiceLoss, FocalLoss
from torch import Tensor, nn

from samparser_monai.errors import at_least


class BoxPromptLoss(nn.Module):
    """Binary cross entropy + Dice, + focal loss where a picture has many instances.

    Args:
        focal: weight of the focal loss: 0 for single instances (CT), 1 for many.
    """

    def __init__(self, focal: float = 0.0) -> None:
        at_least(0.0, focal=focal)
        super().__init__()
        self.bce = nn.BCEWithLogitsLoss()
        self.dice = DiceLoss(sigmoid=True)
        self.weight = focal
        self.focal = FocalLoss()

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the mean over instances; logits and label are Tx1xhxw.

        The label is from 0 to 1, or -1 where nothing is asked: loss and gradient are 0 there.
        """
        logits = logits.masked_fill(label < 0, -100.0)
        label = label.clamp(min=0)
        loss = self.bce(logits, label) + self.dice(logits, label)
        return loss + self.weight * self.focal(logits, label) if self.weight else loss
