"""Controls: rules and linear models that a network must beat."""
