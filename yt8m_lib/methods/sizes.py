"""How many bytes models take, and which of them fit the size budget together."""

import math
from collections.abc import Mapping

import pandas as pd

from yt8m_lib import models
from yt8m_lib.methods import codecs
from yt8m_lib.methods.ensembling import fit_budget
from yt8m_lib.settings import Params

GRAPH_BYTES = 500_000  # allowed for a member's part of the graph, on top of its variables


def model_sizes(params: Params) -> pd.DataFrame:
    """Count the parameters and bytes of every model; nothing is trained, nothing large allocated.

    All variables count, batch-norm statistics included, and no optimizer state. Keras keeps the two
    kernels of an RNN cell apart that the released code fuses, so an LSTM of the published size has
    three more tables of 1,024 bytes.

    Returns:
        A row for each model: ``model``, ``family``, ``published``, ``parameters``,
        ``bytes_float32``, and ``bytes_stored`` with the codec of the shipped model. The last row is
        the sum over the published models, or over all models where none is a published one.
    """
    coded, data = params.quantization, params.data
    rows = []
    for name, model in params.models.items():
        shapes = [shape for _, shape in models.variable_shapes(model, data.classes, data.streams)]
        float32, stored = codecs.bytes_of_shapes(shapes, coded.more_than, coded.codec)
        count = sum(math.prod(shape) for shape in shapes)
        rows.append((name, model.family, model.published, count, float32, stored))
    columns = ["model", "family", "published", "parameters", "bytes_float32", "bytes_stored"]
    table = pd.DataFrame(rows, columns=columns)
    counted = table[table["published"]] if table["published"].any() else table
    words = "published ones together" if table["published"].any() else "together"
    table.loc[len(table)] = [words, "", False, *counted[columns[3:]].sum()]
    return table


def which_fit(sizes: Mapping[str, int], budget: int) -> str:
    """Say whether all members fit a budget together and, if not, which of the first ones do.

    Args:
        sizes: bytes of each member's stored variables; ``GRAPH_BYTES`` are allowed on top of each.
        budget: bytes of the whole exported model.
    """
    total = sum(sizes.values())
    needed = {name: size + GRAPH_BYTES for name, size in sizes.items()}
    if sum(needed.values()) <= budget:
        return f"together {total:,} bytes: within the budget of {budget:,}"
    over = f"together {total:,} bytes: over the budget of {budget:,}"
    if min(needed.values()) > budget:
        return f"{over}; no member fits alone"
    taken = fit_budget(needed, budget)
    fitting = sum(sizes[name] for name in taken)
    return f"{over}; these fit: {', '.join(taken)} ({fitting:,} bytes)"
