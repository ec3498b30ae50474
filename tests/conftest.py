"""Makes `rig` importable (pytest puts this folder on the path) and gives all tests its fixtures."""

pytest_plugins = ["rig.plugin"]
