"""All products of the project in one code location: what ``dg`` commands look at.

``workspace.yaml`` gives each product a location of its own, which is the model; ``dg`` knows one location a
project. A broken product is an asset that says so, and the others load.
"""

from dp_dagster.definitions.load import load_project

defs = load_project()
