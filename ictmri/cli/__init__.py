"""The command line ``ictmri``: each command imports the part that it needs when it runs.

A package adds commands with an entry point of the group ``ictmri.commands`` that leads to such a table.
"""

from typing import Final

COMMANDS: Final = {
    "build": "ictmri.cli.data:build_app",
    "verify": "ictmri.cli.data:verify",
    "info": "ictmri.cli.data:info",
    "list": "ictmri.cli.data:list_names",
    "export": "ictmri.cli.release:export",
    "facts": "ictmri.cli.release:facts",
    "publish": "ictmri.cli.release:publish",
    "withdraw": "ictmri.cli.release:withdraw",
    "erratum": "ictmri.cli.release:erratum",
}
"""Name of a command -> where its function or its group of commands lies."""

LISTS: Final = {"cohorts": "ictmri.cli.parameters:list_cohorts"}
"""Heading in ``ictmri list`` -> where the function lies that yields name and line of each thing.

The module of each such entry point may have one; functions of the core run without the extras.
"""
