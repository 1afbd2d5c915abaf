"""Training: one loop for the whole project, augmentation, and the recipes that use them."""
