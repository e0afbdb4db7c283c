"""What notebooks import, for the process that their kernels are forked from: imported, it imports.

Nothing is computed here, since TensorFlow cannot be forked once it has begun to.
"""

import gc
import os
import pkgutil
from contextlib import suppress
from importlib import import_module

from yt8m_lib import phases, report
from yt8m_lib.methods.devices import no_stderr

# As a kernel does, but before Matplotlib is imported, which looks at it once.
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
with no_stderr():  # TensorFlow's messages as it is imported
    for room in (phases, report):
        for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            # What cannot be imported is the notebook's to say, where it needs it.
            with suppress(Exception):
                import_module(module.name)

# Collecting garbage then goes through what a notebook makes, and not through all libraries.
gc.collect()
gc.freeze()
