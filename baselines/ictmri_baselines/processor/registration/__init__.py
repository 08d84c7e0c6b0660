"""Registration to MNI152."""
