"""Editing faces by diffusion: schedules, samplers, rigs, and the simple editors they must beat."""
