"""What an experiment consists of, what of it is finished, and where it runs; free of TensorFlow."""
