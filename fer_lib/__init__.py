"""Recognise facial expressions, edit them, and measure both: what the notebooks have in common."""
