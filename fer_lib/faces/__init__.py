"""Faces: finding, aligning and describing them, and the linear 3-D head that draws them."""
