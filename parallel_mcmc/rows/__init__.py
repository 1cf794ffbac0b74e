"""Sums over many rows of data: which functions are such, and how they are evaluated in blocks."""
