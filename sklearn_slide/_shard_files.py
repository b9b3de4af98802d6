"""Finished shards in a folder that all machines see."""

import os
import pickle
import uuid
import warnings
from pathlib import Path


def stored(path, make):
    """Return what the file at path holds, or, where there is none that can be read, make() once it is there.

    The file is complete whenever it is there, even if several machines write it at once. path None keeps
    nothing.
    """
    if path is None:
        return make()
    path = Path(path)
    try:
        return load(path)
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged file may fail to load in any way
        warnings.warn(
            f"{path} could not be read ({type(error).__name__}: {error}), and is made again.",
            RuntimeWarning,
            stacklevel=2,
        )
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with open(unfinished, "wb") as file:
            pickle.dump(made, file, protocol=5)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return made


def load(path):
    """Return what the file at path holds. It is a pickle, and can run any code."""
    with open(path, "rb") as file:
        return pickle.load(file)
