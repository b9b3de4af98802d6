"""Extreme multi-label classification for scikit-learn."""

from sklearn_slide._classifier import SlideClassifier

__all__ = ["SlideClassifier"]
__version__ = "0.1.0"
