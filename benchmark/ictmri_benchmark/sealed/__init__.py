"""Sealed mode: an organiser keeps the labels, others submit, anyone can verify afterwards.

``benchmark/SEALED.md`` tells how to run one, what it prevents and what it does not.
"""
