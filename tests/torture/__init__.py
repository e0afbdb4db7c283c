"""The torture harness: runs killed, shards mutated, metrics held against their definition, faults.

``make torture`` runs all of it; ``__main__`` says what it does, ``tests/test_torture.py`` runs each
part in small.
"""
