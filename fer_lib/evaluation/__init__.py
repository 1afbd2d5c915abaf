"""Evaluation: arrays and prediction tables in, numbers with 95 % intervals out."""
