"""The Python rules of Bazel 4 to 7 behind the name that Bazel 8 and 9 need.

Up to version 7 Bazel has these rules built in; later ones have them only in
the rules_python module, which MODULE.bazel fetches. All BUILD files of this
repository load them from @rules_python, so that one set of BUILD files serves
all versions; WORKSPACE maps that name to this folder, which needs no network.
"""

py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
