"""Names under which runs log what they made, so that others can find it."""

MODEL = "model.keras"  # a trained model
STORED = "weights.npz"  # a student's weights as its codec stores them
LABEL_COUNTS = "label_counts.npy"  # how many training videos have each class
SOFT_TARGETS = "soft_targets"  # who teaches, and where the sidecar shards lie

# --- Answers: a model's predictions for the validation videos ---
#
# Of each the GAP is logged as ``<name>_gap.npz``, which ``FinishedRun.gap`` reads; of a run's own
# model the predictions, too. What other ways of answering give is named after ``inference``.

PREDICTIONS = "predictions"  # of the run's own model

# Weight averaging: the same training, averaged otherwise or not at all.
UNAVERAGED = "unaveraged"
CHECKPOINTS = "checkpoints"
SHADOW_CHECKPOINTS = "shadow_checkpoints"

# The ensemble beside its parts and beside what knows nothing of a video.
FLAT = "flat"
CLASS_PRIOR = "class_prior"
FIRST_ROUND = "first_round"

# What each step of the system is worth: the best that can be made without the later ones, of at
# most as many bytes as the tuned ensemble has; in the order in which the paper adds them.
LADDER = {
    "single_teacher": "best single teacher that fits, float32",
    "teachers": "teachers together, float32",
    "coded_teachers": "+ 8 bits: more teachers",
    "averaged_teachers": "+ averaged weights",
    "first_students": "+ distillation: students",
    "students": "+ second round",
    "students_and_teachers": "... or students and teachers",
    "tuned_students": "+ tuned weights: the ensemble",
}

# Ensembles of the same members whose weights were searched otherwise, in as many trials.
POWELL, GREEDY = "powell", "greedy"


def alone(family: str) -> str:
    """The best ensemble of one family's members."""
    return f"{family}_alone"


def students_of(family: str) -> str:
    """The flat average of a family's first-round students of its own teachers."""
    return f"{family}_students"


def teachers_of(family: str) -> str:
    """The flat average of the same architectures trained on labels."""
    return f"{family}_teachers"
