"""What every tool imports first: where it is, and how quiet TensorFlow is.

    python tools/train.py ...       from a clone, in any folder
    python -m tools.train ...       in the clone
    bazel run //tools:train -- ...
    from tools import train         in tests

Of these only the first needs help to find the library: tools/tools.py gives it.
"""

import os

# The folder that holds gin/, docs/ and the library.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Without it TensorFlow's import prints warnings about CUDA that concern nobody
# here. Errors come as Python exceptions all the same.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
