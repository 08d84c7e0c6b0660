"""Commands that compute: demo, process, localize, reproduce."""
