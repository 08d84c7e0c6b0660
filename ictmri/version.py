"""The version of the package; data and documents have their own."""

__version__ = "0.1.0"
