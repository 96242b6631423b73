"""The BUILD files say what the sources import, and the house stays in order."""

import contextlib
import difflib
import re
import runpy
from unittest import mock

from absl.testing import absltest

from tests import build_files

ROOT = build_files.ROOT

# A folder may import from folders of a lower number and from itself.
FLOORS = {
  'official_coatnet/modeling': 0,
  'official_coatnet/data': 0,
  'official_coatnet/data/build': 1,
  'official_coatnet/data/shards': 1,
  'official_coatnet/training': 1,
  'official_coatnet/export': 2,
  'official_coatnet/analysis': 2,
  'official_coatnet/model_garden': 2,
  'official_coatnet': 3,
  'tools': 4,
  'tools/benchmark': 4,
  'tests': 5,
  'tests/compatibility': 6,
  'tests/golden': 6,
}
# On the same floor only these may see each other; modeling and data may not.
NEIGHBOURS = (
  {'official_coatnet/export', 'official_coatnet/analysis'},
  {'tools', 'tools/benchmark'},
)


class BuildFilesTest(absltest.TestCase):
  def test_build_files_match_the_sources(self):
    for build, (before, after) in build_files.all_updated().items():
      with self.subTest(str(build)):
        diff = difflib.unified_diff(
          before.splitlines(), after.splitlines(), f'{build}', 'needed', n=2
        )
        if before != after:
          self.fail('run `make build-files`, or:\n' + '\n'.join(diff))

  def test_lower_floors_do_not_import_higher_ones(self):
    for path in build_files.python_files(*build_files.TOP_FOLDERS):
      for other in build_files.imported_files(path):
        here, there = str(path.parent), str(other.parent)
        for folder in (here, there):
          self.assertIn(folder, FLOORS, 'give the new folder a floor')
        if other.name == '__init__.py' and there == 'official_coatnet':
          continue  # The package itself holds nothing but its docstring.
        allowed = (
          here == there
          or {here, there} in NEIGHBOURS
          or FLOORS[there] < FLOORS[here]
        )
        self.assertTrue(
          allowed,
          f'{path} must not import {other}: {here} is '
          f'floor {FLOORS[here]}, {there} {FLOORS[there]}',
        )

  def test_gin_folder_is_data_only(self):
    code = [p.relative_to(ROOT) for p in (ROOT / 'gin').rglob('*.py')]
    self.assertEmpty(code, 'as a package, gin/ would hide the gin library')

  def test_every_library_module_has_a_test(self):
    # tests/config_test.py, or with the folder where several have a `config`:
    # tests/data_config_test.py, tests/modeling_config_test.py.
    missing = []
    for module in build_files.python_files('official_coatnet'):
      names = {module.stem, f'{module.parent.name}_{module.stem}'}
      tests = [ROOT / f'tests/{name}_test.py' for name in sorted(names)]
      if module.stem != '__init__' and not any(t.is_file() for t in tests):
        missing.append(str(module))
    self.assertEmpty(missing, 'library modules without a test')


class PackagingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(contextlib.chdir(ROOT))  # find_packages looks there.
    with mock.patch('setuptools.setup') as setup:
      runpy.run_path('setup.py')
    self.setup = setup.call_args.kwargs

  def test_only_the_library_is_packaged(self):
    tops = {name.split('.')[0] for name in self.setup['packages']}
    self.assertEqual(tops, {'official_coatnet'})

  def test_lock_pins_what_setup_asks_for(self):
    lines = (ROOT / 'requirements.lock').read_text().splitlines()
    pins = [line for line in lines if not line.startswith('#')]
    for pin in pins:
      self.assertRegex(pin, r'^[\w.-]+==[\w.]+$', 'not an exact version')
    locked = {pin.split('==')[0] for pin in pins}
    for wanted in self.setup['install_requires']:
      self.assertIn(re.match(r'[\w-]+', wanted)[0], locked)


if __name__ == '__main__':
  absltest.main()
