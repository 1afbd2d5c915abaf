"""Fitting a morphable face to what the landmark mesh sees."""
