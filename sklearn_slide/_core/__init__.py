"""The compiled core: what SLIDE does to one sample, one label, one table. It imports no scikit-learn."""
