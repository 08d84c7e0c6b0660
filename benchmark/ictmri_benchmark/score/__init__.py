"""Predictions scored: the protocol, its metrics and their uncertainty."""
