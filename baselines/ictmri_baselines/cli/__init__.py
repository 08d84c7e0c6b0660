"""Commands of the baselines."""

from typing import Final

COMMANDS: Final = {
    "demo": "ictmri_baselines.cli.methods:demo",
    "process": "ictmri_baselines.cli.volumes:process",
    "train-detector": "ictmri_baselines.cli.detector:train_detector",
    "localize": "ictmri_baselines.cli.volumes:localize",
    "reproduce": "ictmri_baselines.cli.methods:reproduce",
    "explain": "ictmri_baselines.cli.predict:explain",
    "predict": "ictmri_baselines.cli.predict:predict",
    "publish-model": "ictmri_baselines.cli.predict:publish_model",
}
"""See :data:`ictmri.cli.COMMANDS`."""

LISTS: Final = {
    "recipes": "ictmri_baselines.cli.methods:list_recipes",
    "methods": "ictmri_baselines.cli.methods:list_methods",
    "backbones": "ictmri_baselines.cli.methods:list_backbones",
    "detectors": "ictmri_baselines.cli.methods:list_detectors",
}
"""See :data:`ictmri.cli.LISTS`."""
