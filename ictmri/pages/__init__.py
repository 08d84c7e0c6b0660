"""Pages and pictures of cases."""
