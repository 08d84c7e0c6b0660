"""Recipes, and the runs that make entries of them."""
