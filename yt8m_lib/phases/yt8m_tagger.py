"""How MLflow loads an exported model: a copy of this file lies in it, under ``code/``.

It imports nothing of this project, so it runs wherever TensorFlow and MLflow do.
"""

from typing import Any

import numpy as np


class Tagger:
    """An exported model behind MLflow's ``predict``.

    Args:
        folder: of the exported model.
    """

    def __init__(self, folder: str):
        import tensorflow as tf

        self._model = tf.saved_model.load(folder)

    def predict(self, model_input: dict[str, Any], params: Any = None) -> dict[str, np.ndarray]:
        """Tag videos.

        Args:
            model_input: ``frames`` [B, T, F] (of YouTube-8M uint8 [B, T, 1152]) and
                ``num_frames`` int32 [B].
            params: not used; MLflow passes it.

        Returns:
            ``classes`` int32 [B, 20] and ``confidences`` float32 [B, 20], the most confident first.
        """
        import tensorflow as tf

        tag = self._model.signatures["serving_default"]
        kind = tag.structured_input_signature[1]["frames"].dtype
        answer = tag(
            frames=tf.constant(model_input["frames"], kind),
            num_frames=tf.constant(model_input["num_frames"], tf.int32),
        )
        return {name: answer[name].numpy() for name in ("classes", "confidences")}


def _load_pyfunc(folder: str) -> Tagger:
    return Tagger(folder)
