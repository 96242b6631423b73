"""A tool finds the library however it is started."""

import os
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

from tools import prologue

ROOT = pathlib.Path(prologue.ROOT)
# Prints what a tool of this folder would import, as the first line of one.
PROBE = """
import tools.prologue
import os, sys
from tools import progress
print(tools.__file__, progress.__file__, os.environ['TF_CPP_MIN_LOG_LEVEL'])
print(*sys.path, sep='\\n')
"""


class PrologueTest(parameterized.TestCase):
  def _start(self, *arguments, cwd, **variables):
    """Runs Python where the repository is on no path; returns its output."""
    environment = {
      k: v for k, v in os.environ.items() if not k.startswith(('PYTHON', 'TF_'))
    }
    packages = [path for path in sys.path if 'site-packages' in path]
    environment['PYTHONPATH'] = os.pathsep.join(
      [*packages, *variables.pop('path', ())]
    )
    process = subprocess.run(
      [sys.executable, *arguments],
      cwd=cwd,
      env={**environment, **variables},
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(process.stderr, '')
    return process.stdout

  @parameterized.parameters(
    ('tools/query.py', 'Asks a TensorFlow Serving server'),
    ('tools/benchmark/peers.py', 'How fast CoAtNet-0 is on this CPU'),
  )
  def test_as_a_file_from_anywhere(self, file, help_text):
    command = (ROOT / file, '--help')
    folder = self.create_tempdir().full_path
    self.assertStartsWith(self._start(*command, cwd=folder), help_text)
    # As newer versions of Bazel start it: the file's folder is on no path.
    output = self._start(
      *command, cwd=folder, path=[str(ROOT)], PYTHONSAFEPATH='1'
    )
    self.assertStartsWith(output, help_text)

  def test_as_a_module(self):
    output = self._start('-m', 'tools.query', '--help', cwd=ROOT)
    self.assertStartsWith(output, 'Asks a TensorFlow Serving server')

  @parameterized.parameters('tools', 'tools/benchmark')
  def test_the_package_comes_and_its_folder_goes(self, folder):
    """Else `import export` would find tools/export.py."""
    found, *paths = self._start('-c', PROBE, cwd=ROOT / folder).splitlines()
    tools = ROOT / 'tools'
    self.assertEqual(
      found, f'{tools / "__init__.py"} {tools / "progress.py"} 3'
    )
    self.assertEqual(paths[0], str(ROOT))
    self.assertNotIn(str(ROOT / folder), paths)
    self.assertNotIn('', paths)


if __name__ == '__main__':
  absltest.main()
