"""The verbs of the paper: training, averaging, distillation, codecs, ensembling, export."""
