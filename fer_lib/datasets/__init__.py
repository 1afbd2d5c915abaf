"""Data sets: one reader per source, all giving the same sample table and the same store."""
