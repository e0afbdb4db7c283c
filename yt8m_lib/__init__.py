"""YouTube-8M video tagging under 1 GB: the library that the notebooks call."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up chatter
