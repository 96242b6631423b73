"""Runs requests on an export by TensorFlow's C++ alone, as a server does.

    python tools/c_loader.py runs/exports/1 requests.json replies.json

TensorFlow's Python is never imported. What the files hold is said in
official_coatnet/export/verify/c_api.py; tools/verify_export.py calls that.
"""

import tools.prologue

import sys

from official_coatnet.export.verify import c_api

if __name__ == '__main__':
  c_api.main(sys.argv)
