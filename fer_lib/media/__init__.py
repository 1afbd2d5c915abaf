"""Decoding of what a camera or a disk delivers: images now, video and sound later."""
