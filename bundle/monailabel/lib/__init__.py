"""What the app is made of: requests, the model and its tuned parts, and MONAI Label's tasks."""
