"""What each phase does for one of its steps: read what earlier steps made, work, log.

The verbs of the paper live in the modules named after them and know nothing of MLflow; here they
meet the experiment's record. A phase imports no other phase: it finds what those logged.
"""
