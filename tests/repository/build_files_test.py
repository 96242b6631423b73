"""The BUILD files fit the imports, and the house stays in order."""

import ast
import configparser
import contextlib
import pathlib
import runpy
from unittest import mock

from absl.testing import absltest, parameterized
from packaging import requirements, utils

import official_coatnet

# The checkout itself, of which Bazel shows a test only what it depends on.
ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = 'official_coatnet'
# A folder may import from folders of a lower number, and from itself.
FLOORS = {
  'official_coatnet': 0,
  'official_coatnet/data': 1,
  'official_coatnet/modeling': 1,
  'official_coatnet/records': 2,
  'official_coatnet/training': 2,
  'official_coatnet/export': 3,
  'official_coatnet/pretrained': 4,
  'official_coatnet/analysis': 5,
  'official_coatnet/model_garden': 5,
  'tools': 6,
  'tools/benchmark': 7,
  'tests': 8,
}
MOST_TEST_TARGETS = 60
# Folders of tests that others import.
TEST_LIBRARIES = ('compatibility', 'golden')
# What //tests:reference holds.
REFERENCE = {
  pathlib.Path('tests/reference.py'),
  pathlib.Path('tests/reference_counts.py'),
}


def python_files(*tops):
  """All Python files in the named folders, relative to the root."""
  found = (path for top in tops for path in (ROOT / top).rglob('*.py'))
  return sorted(path.relative_to(ROOT) for path in found)


def folder_of(path):
  """The folder that has a floor and a BUILD target, of a Python file."""
  if path.parts[0] == 'tests':
    return 'tests'
  known = [f for f in FLOORS if pathlib.Path(f) in path.parents]
  return max(known, key=len)


def imported_files(path):
  """First-party files that the file at `path` imports, wherever it does so."""
  names = set()
  for node in ast.walk(ast.parse((ROOT / path).read_text())):
    if isinstance(node, ast.Import):
      names.update((alias.name, '') for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
      names.update((node.module or '', alias.name) for alias in node.names)
  return {file for name in names if (file := _file_of(*name))}


def _file_of(module, attribute):
  """The first-party file behind `from module import attribute`, if any."""
  base = pathlib.Path(*module.split('.'))
  if base.parts[:1] and base.parts[0] not in (LIBRARY, 'tests', 'tools'):
    return None
  candidates = [base.with_suffix('.py'), base / '__init__.py']
  if attribute:  # It may itself be a module.
    inner = base / attribute
    candidates = [inner.with_suffix('.py'), inner / '__init__.py', *candidates]
  return next((c for c in candidates if (ROOT / c).is_file()), None)


def read_build(folder):
  """Returns the targets of a BUILD file: name to rule, its arguments in it.

  What a BUILD file says is Python, too; its rules are recorded here.
  """
  targets = {}

  def rule(kind):
    def record(name=None, **kwargs):
      targets[name] = {'kind': kind, **kwargs}

    return record

  def glob(patterns):
    found = (p for each in patterns for p in (ROOT / folder).glob(each))
    return sorted(str(p.relative_to(ROOT / folder)) for p in found)

  kinds = ('folder_library', 'topic_test', 'py_library', 'filegroup')
  names = {kind: rule(kind) for kind in kinds}
  ignored = ('load', 'package', 'licenses', 'exports_files', 'tool_binaries')
  names |= {name: lambda *args, **kwargs: None for name in ignored}
  exec((ROOT / folder / 'BUILD').read_text(), {**names, 'glob': glob})
  return targets


def reachable(labels):
  """Returns the folders of some targets, and of all that they depend on."""
  folders, pending = set(), list(labels)
  while pending:
    folder, _, name = pending.pop().removeprefix('//').partition(':')
    if folder in folders or not (ROOT / folder / 'BUILD').is_file():
      continue
    folders.add(folder)
    target = read_build(folder).get(name or pathlib.Path(folder).name, {})
    pending += target.get('deps', [])
  return folders


def test_targets():
  """Yields the folder, name and rule of each target of tests."""
  for build in sorted((ROOT / 'tests').rglob('BUILD')):
    folder = build.parent.relative_to(ROOT)
    for name, target in read_build(folder).items():
      if target['kind'] == 'topic_test':
        yield folder, name, target


class BuildFilesTest(absltest.TestCase):
  def test_every_test_module_is_in_one_target(self):
    modules = [
      str(folder / module)
      for folder, _, target in test_targets()
      for module in target['modules']
    ]
    there = [str(p.with_suffix('')) for p in python_files('tests')]
    expected = [path for path in there if path.endswith('_test')]
    self.assertCountEqual(modules, expected)

  def test_targets_are_few(self):
    # Each imports TensorFlow anew.
    self.assertLessEqual(len(list(test_targets())), MOST_TEST_TARGETS)

  def test_deps_of_the_library_are_what_it_imports(self):
    for folder in FLOORS:
      if folder == 'tests':
        continue
      imported = {
        folder_of(other)
        for path in python_files(folder)
        if folder_of(path) == folder
        for other in imported_files(path)
      } - {folder}
      name = pathlib.Path(folder).name
      deps = read_build(folder)[name].get('deps', [])
      missing = imported - reachable(deps)
      self.assertEmpty(missing, f'missing in the deps of {folder}/BUILD')

  def test_deps_of_the_tests_are_what_they_import(self):
    for folder, name, target in test_targets():
      seen, pending = (
        set(),
        [folder / f'{module}.py' for module in target['modules']],
      )
      while pending:  # Fixtures have no deps of their own.
        path = pending.pop()
        if path not in seen and path.parts[0] == 'tests':
          pending += imported_files(path)
        seen.add(path)
      wanted = {folder_of(path) for path in seen} - {'tests'}
      if seen & REFERENCE:
        wanted.add('tests')
      # Of other folders of tests, those that are libraries as well.
      wanted |= {
        str(path.parent)
        for path in seen
        if path.parts[0] == 'tests'
        and path.parent != folder
        and path.parts[1] in TEST_LIBRARIES
      }
      missing = wanted - reachable(target['deps'])
      self.assertEmpty(missing, f'missing in the deps of //{folder}:{name}')

  def test_lower_floors_do_not_import_higher_ones(self):
    for path in python_files(LIBRARY, 'tools', 'tests'):
      for other in imported_files(path):
        here, there = folder_of(path), folder_of(other)
        self.assertTrue(
          here == there or FLOORS[there] < FLOORS[here],
          f'{path} must not import {other}: {here} is '
          f'floor {FLOORS[here]}, {there} {FLOORS[there]}',
        )

  def test_gin_folder_is_data_only(self):
    code = [p.relative_to(ROOT) for p in (ROOT / 'gin').rglob('*.py')]
    self.assertEmpty(code, 'as a package, gin/ would hide the gin library')

  def test_every_library_module_has_a_test_of_its_name_and_place(self):
    missing = []
    for module in python_files(LIBRARY):
      place = pathlib.Path('tests', *module.parts[1:-1])
      test = ROOT / place / f'{module.stem}_test.py'
      if module.stem != '__init__' and not test.is_file():
        missing.append(str(module))
    self.assertEmpty(missing, 'library modules without a test')

  def test_every_test_module_runs_its_tests(self):
    for path in python_files('tests'):
      if path.stem.endswith('_test'):
        with self.subTest(str(path)):
          self.assertIn("if __name__ == '__main__':", (ROOT / path).read_text())


class TypesTest(absltest.TestCase):
  def test_settings_name_modules_that_exist(self):
    # mypy passes over a section of a module that is not there.
    settings = configparser.ConfigParser()
    settings.read(ROOT / 'mypy.ini')
    ours = [
      name
      for section in settings.sections()
      for name in section.removeprefix('mypy-').split(',')
      if name.startswith((LIBRARY, 'tools'))
    ]
    self.assertNotEmpty(ours)
    for name in ours:
      path = ROOT.joinpath(*name.split('.')).with_suffix('.py')
      self.assertTrue(path.is_file(), f'mypy.ini names {name}')


class PackagingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(contextlib.chdir(ROOT))  # find_packages looks there.
    with (
      mock.patch('setuptools.setup') as setup,
      # As where no TensorFlow is installed.
      mock.patch('importlib.metadata.distributions', return_value=()),
    ):
      self.module = runpy.run_path('setup.py')
    self.setup = setup.call_args.kwargs

  def test_only_the_library_is_packaged(self):
    tops = {name.split('.')[0] for name in self.setup['packages']}
    self.assertEqual(tops, {LIBRARY})

  def test_version_is_that_of_the_package(self):
    self.assertEqual(self.setup['version'], official_coatnet.__version__)

  @parameterized.parameters(
    ('requirements.lock', '3.11'), ('requirements-tf2.20.lock', '3.12')
  )
  def test_lock_pins_what_setup_asks_for(self, lock, python):
    lines = (ROOT / lock).read_text().splitlines()
    pins = [line for line in lines if not line.startswith('#')]
    locked = {}
    for pin in pins:
      self.assertRegex(pin, r'^[\w.-]+==[\w.]+$', 'not an exact version')
      name, version = pin.split('==')
      locked[utils.canonicalize_name(name)] = version
    for wanted in map(requirements.Requirement, self.setup['install_requires']):
      name = utils.canonicalize_name(wanted.name)
      if wanted.marker and not wanted.marker.evaluate(
        {'python_version': python}
      ):
        continue
      self.assertIn(name, locked)
      self.assertIn(locked[name], wanted.specifier, name)

  def test_an_own_tensorflow_stays(self):
    packages = self.module['tensorflow_packages']
    for own in ('2.16.1', '2.20.0'):
      self.assertEqual(packages(own), [f'tensorflow=={own}'])
    self.assertEqual(
      packages('2.15.0'), ['tensorflow==2.15.0', *packages('')[1:]]
    )
    # Those that will not do.
    for own in ('2.14.1', '2.21.0', '3.0.0'):
      self.assertEqual(packages(own), packages(''))


if __name__ == '__main__':
  absltest.main()
