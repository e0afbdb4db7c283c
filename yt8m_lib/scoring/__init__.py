"""Predictions, the challenge's metrics and their intervals, in NumPy alone."""
