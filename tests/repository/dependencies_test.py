"""What is imported is asked for in setup.py.

What a run needs stands in install_requires, and is imported as usual. What is
in an extra may be missing: official_coatnet/extras.py imports it where it is
used, and says what to install.
"""

import ast
import importlib.metadata
import pathlib
import re
import runpy
import sys
from unittest import mock

from absl.testing import absltest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = ('official_coatnet', 'tools', 'tests')
# What an import calls otherwise than its package is called.
PACKAGES = {
  'PIL': 'pillow',
  'absl': 'absl-py',
  'gin': 'gin-config',
  'google.api_core': 'google-api-core',
  'google.auth': 'google-auth',
  'google.cloud': 'google-cloud-tpu',
  'google.protobuf': 'protobuf',
  'googleapiclient': 'google-api-python-client',
  'grpc': 'grpcio',
  'mlflow': 'mlflow-skinny',
  'official': 'tf-models-official',
  'orbit': 'tf-models-official',
  'sklearn': 'scikit-learn',
  'tensorflow_serving': 'tensorflow-serving-api',
  'yaml': 'pyyaml',
}
# Of environments of their own: those of `make tpu-report` and `make peers`.
LOCKS = {
  'official_coatnet/analysis/tpu/worker.py': 'requirements-tpu.lock',
  'official_coatnet/pretrained/publishing_card.py': 'requirements-peers.lock',
  'tools/benchmark/peers_variants.py': 'requirements-peers.lock',
}
# Who has it wants it: no extra brings it, and a look goes before the import.
BY_THEMSELVES = {'official_coatnet/data/image_files.py': ['pillow-heif']}
# It is taken along without the library; tools/query.py has the sentence.
ALONE = {'tools/serving_client/rpc.py': 'serving'}


def normalized(name):
  return re.sub(r'[-_.]+', '-', name).lower()


def package_of(module):
  """The package on PyPI of a module, or None if it is Python's or ours."""
  first = module.partition('.')[0]
  if first in sys.stdlib_module_names or first in OURS:
    return None
  for parts in (2, 1):
    name = '.'.join(module.split('.')[:parts])
    if name in PACKAGES:
      return PACKAGES[name]
  return normalized(first)


def requirements():
  """What setup.py asks for: names, and names by extra."""
  with (
    mock.patch('setuptools.setup') as setup,
    # As where no TensorFlow is installed: it would add to the list.
    mock.patch('importlib.metadata.distributions', return_value=()),
  ):
    runpy.run_path(str(ROOT / 'setup.py'))
  (call,) = setup.call_args_list

  def names(lines):
    return {normalized(re.match(r'[\w.-]+', line)[0]) for line in lines}

  extras = call.kwargs['extras_require']
  return (
    names(call.kwargs['install_requires']),
    {extra: names(lines) for extra, lines in extras.items()},
  )


def imports(tree):
  """Modules that import statements name, wherever they stand."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def loads(tree):
  """Extras that calls of extras.load name, with the modules as far as told."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'extras.load':
      (extra,) = (k.value for k in node.keywords if k.arg == 'extra')
      if not isinstance(extra, ast.Constant):
        continue  # One that is asked for by name: others load it by its own.
      name = node.args[0]
      if isinstance(name, ast.JoinedStr):
        name = name.values[0]
      yield extra.value, name.value if isinstance(name, ast.Constant) else None


class DependenciesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.required, self.extras = requirements()
    self.trees = {
      str(path.relative_to(ROOT)): ast.parse(path.read_text())
      for top in ('official_coatnet', 'tools')
      for path in (ROOT / top).rglob('*.py')
    }

  def test_what_is_imported_is_asked_for(self):
    for path, tree in self.trees.items():
      found = {package_of(module) for module in imports(tree)} - {None}
      known = set(self.required) | set(BY_THEMSELVES.get(path, ()))
      if path in ALONE:
        known |= self.extras[ALONE[path]]
      if path in LOCKS:
        lock = (ROOT / LOCKS[path]).read_text()
        known |= {
          normalized(name) for name in re.findall(r'^([\w.-]+)==', lock, re.M)
        }
      missing = sorted(found - known)
      self.assertEmpty(
        missing,
        f'{path} imports what install_requires of setup.py does not name; take '
        'it up there, or into an extra and import it by extras.load',
      )

  def test_what_is_missing_is_told_by_the_extra_that_brings_it(self):
    used = set(ALONE.values())
    for path, tree in self.trees.items():
      for extra, module in loads(tree):
        used.add(extra)
        self.assertIn(extra, self.extras, path)
        if module is not None:
          self.assertIn(package_of(module), self.extras[extra], path)
    # `tpu` is used where it is there, `dev` and `docs` by those who work here,
    # `notebooks` by those who read docs/notebooks.
    optional = {'tpu', 'dev', 'docs', 'notebooks'}
    self.assertEqual(used | optional, set(self.extras))

  def test_nothing_stands_in_both(self):
    for extra, names in self.extras.items():
      self.assertEmpty(names & self.required, extra)

  def test_names_of_modules_are_right(self):
    """PACKAGES says what the packages that are installed say themselves."""
    there = importlib.metadata.packages_distributions()
    for module, package in PACKAGES.items():
      if module in there:  # No name of several packages, such as google.
        names = {normalized(name) for name in there[module]}
        self.assertIn(package, names)


if __name__ == '__main__':
  absltest.main()
