"""tda: a benchmark runner for unsupervised domain adaptation in image classification."""

__version__ = "0.1.0"
