"""The ``soupsearch`` command: the composition root. Commands import what they need only when they run."""
