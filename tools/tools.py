"""Stands in for the package `tools` where a tool is run as a file.

`python tools/train.py` puts this folder first on Python's path, and not the one
above, from which `import tools.prologue` and `import official_coatnet` are to
be found. So `tools` is this module then, which changes the former for the
latter and hands on the package. That also keeps names in here (`export`,
`progress`, `query`) from hiding other modules. In all other cases the package
is found at once, and nobody comes here.
"""

import importlib
import os
import sys

if __name__ == 'tools':
  _HERE = os.path.dirname(os.path.abspath(__file__))
  _OTHERS = [path for path in sys.path if os.path.abspath(path) != _HERE]
  sys.path[:] = [os.path.dirname(_HERE), *_OTHERS]
  del sys.modules['tools']
  # What is in sys.modules at the end is what the import statement gets.
  importlib.import_module('tools')
