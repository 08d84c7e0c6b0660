"""The command line ``ictmri``: each command imports the part that it needs when it runs."""
