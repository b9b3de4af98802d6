"""Extreme multi-label classification for scikit-learn."""

from sklearn_slide._classifier import SlideClassifier
from sklearn_slide._lsh import LSH

__all__ = ["LSH", "SlideClassifier"]
__version__ = "0.1.0"
