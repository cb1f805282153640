"""Where things lie in a picture: the model's square, boxes, components, masks as run lengths."""
