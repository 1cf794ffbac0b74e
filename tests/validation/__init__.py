"""Checks of the draws against distributions that are known by other means."""
