"""The shipped recipes, one YAML file each; they are found by :mod:`triptych.spec.shelf`."""
