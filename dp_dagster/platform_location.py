"""The code location of what belongs to no product: silent sensors and daemons, products that do not load."""

from dp_dagster.definitions.platform import platform_definitions
from dp_dagster.settings import Settings

defs = platform_definitions(Settings.load())
