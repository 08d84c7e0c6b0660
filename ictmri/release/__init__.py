"""Publishing: what leaves the owner's machine, in which form, and on which conditions."""
