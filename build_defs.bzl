"""How this repository's BUILD files are written: by folder, and not by file.

A folder is a target, with all Python files in it and below it; its deps are the
floors that it may import. tests/repository/build_files_test.py holds both against
the imports.
"""

load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")

def folder_library(name, **kwargs):
    """All Python files of a folder as one library, named as the folder is."""
    py_library(
        name = name,
        srcs = native.glob(["**/*.py"]),
        **kwargs
    )

def tool_binaries(tools, deps):
    """One binary a tool; `deps` holds the library with the sources of all."""
    for tool in tools:
        py_binary(
            name = tool,
            srcs = [tool + ".py"],
            deps = deps,
        )

def topic_test(name, modules, deps, size = "medium", **kwargs):
    """Several test modules in one process, which imports TensorFlow once.

    Args:
      name: The topic, and `_test`.
      modules: Paths of the modules from here, without their ending.
      deps: What they import, besides tests/fixtures.
      size: As of py_test. "small" is what takes less than 30 seconds on an idle
        core: those are the tests of `make test-fast`.
      **kwargs: Of py_test.
    """
    package = native.package_name().replace("/", ".")
    py_test(
        name = name,
        size = size,
        srcs = [module + ".py" for module in modules] + [
            "//tests:__init__.py",
            "//tests:run.py",
        ],
        main = "//tests:run.py",
        args = [package + "." + module.replace("/", ".") for module in modules],
        deps = deps + ["//tests/fixtures"],
        **kwargs
    )
