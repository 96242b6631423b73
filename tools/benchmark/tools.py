"""As tools/tools.py, for benchmarks: leads from this folder to that one."""

import importlib
import os
import sys

if __name__ == 'tools':
  _HERE = os.path.dirname(os.path.abspath(__file__))
  _OTHERS = [path for path in sys.path if os.path.abspath(path) != _HERE]
  sys.path[:] = [os.path.dirname(_HERE), *_OTHERS]
  del sys.modules['tools']
  importlib.import_module('tools')
