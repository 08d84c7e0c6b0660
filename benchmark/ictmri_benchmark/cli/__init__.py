"""Commands of the benchmark."""

from typing import Final

COMMANDS: Final = {
    "evaluate": "ictmri_benchmark.cli.scoring:evaluate",
    "compare": "ictmri_benchmark.cli.scoring:compare",
    "submit": "ictmri_benchmark.cli.scoring:submit",
    "leaderboard": "ictmri_benchmark.cli.scoring:leaderboard",
    "audit": "ictmri_benchmark.cli.scoring:audit",
    "entry": "ictmri_benchmark.cli.entries:entry_app",
    "gate": "ictmri_benchmark.cli.entries:gate",
    "codabench": "ictmri_benchmark.cli.entries:codabench",
    "sealed": "ictmri_benchmark.cli.sealed:sealed_app",
}
"""See :data:`ictmri.cli.COMMANDS`."""
