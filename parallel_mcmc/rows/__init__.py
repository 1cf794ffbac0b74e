"""Sums over many rows of data: which functions are such, and how they are evaluated in blocks."""

from parallel_mcmc.rows.blocks import all_rows_at_once, in_row_blocks

__all__ = ["all_rows_at_once", "in_row_blocks"]
