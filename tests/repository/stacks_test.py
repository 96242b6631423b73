"""Which stack `make` and `bazel` take, with scripts in the place of Pythons."""

import pathlib
import re
import shutil
import subprocess

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Answers what the Makefile asks of a Python, and cannot do anything else.
PYTHON = """#!/bin/sh
case "$2" in
  *"!= '{version}'"*) exit 0 ;;
  *ensurepip*) exit {no_venv} ;;
esac
exit 1
"""
# What knows of both stacks, beside the code.
FILES = (
  'Makefile',
  'tools/bazel',
  'tools/find_python.sh',
  'tools/in_environment.sh',
)
# What the recipes call, of a machine that has no Python.
COMMANDS = ('dirname', 'echo', 'ls', 'make', 'sed', 'sh')


class StacksTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.home = pathlib.Path(self.create_tempdir().full_path)
    self.root = self.home / 'clone'
    (self.root / 'tools').mkdir(parents=True)
    for file in FILES:
      shutil.copy(ROOT / file, self.root / file)
    self.bin = self.home / 'bin'
    self.bin.mkdir()
    for command in COMMANDS:
      (self.bin / command).symlink_to(shutil.which(command))

  def _python(self, path, version, *, no_venv=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PYTHON.format(version=version, no_venv=no_venv))
    path.chmod(0o755)

  def _install(self, *versions, **kwargs):
    """Puts Pythons on PATH."""
    for version in versions:
      self._python(self.bin / f'python{version}', version, **kwargs)

  def _call(self, *command, **variables):
    result = subprocess.run(
      command,
      cwd=self.root,
      env={'HOME': str(self.home), 'PATH': str(self.bin), **variables},
      capture_output=True,
      text=True,
      check=False,
    )
    return result.returncode, result.stdout, result.stderr

  @parameterized.parameters(
    (('3.11',), [], 'Stack tf2.15: Python 3.11 (', 'No Python 3.12 was found'),
    (('3.12',), [], 'Stack tf2.20: Python 3.12 (', 'No Python 3.11 was found'),
    (
      ('3.11', '3.12'),
      [],
      'Stack tf2.15: Python 3.11 (',
      'Python 3.12 is here, too: STACK=tf2.20',
    ),
    (
      ('3.11', '3.12'),
      ['STACK=tf2.20'],
      'Stack tf2.20: Python 3.12 (',
      'Python 3.11 is here, too: STACK=tf2.15',
    ),
  )
  def test_says_what_is_found_and_chosen(self, versions, args, *words):
    self._install(*versions)
    code, output, errors = self._call('make', 'stack', *args)
    self.assertEqual((code, errors), (0, ''))
    self.assertLen(output.splitlines(), 1)
    for part in words:
      self.assertIn(part, output)

  def test_a_python_that_is_not_on_path(self):
    python = self.home / 'pyenv' / 'versions' / '3.12.1' / 'bin' / 'python'
    self._python(python, '3.12')
    # A shim of pyenv is there for each version, and refuses to run.
    self._python(self.bin / 'python3.12', 'none')
    code, output, _ = self._call(
      'make', 'stack', PYENV_ROOT=str(self.home / 'pyenv')
    )
    self.assertEqual(code, 0)
    self.assertIn(f'Stack tf2.20: Python 3.12 ({python})', output)

  def test_what_is_set_up_is_taken(self):
    self._install('3.12')
    self._python(self.root / '.venv' / 'bin' / 'python', '3.11')
    (self.root / '.venv' / '.complete').touch()
    _, output, _ = self._call('make', 'stack')
    self.assertEqual(output, 'Stack tf2.15: Python 3.11, in .venv.\n')

  @parameterized.parameters((('3.10', '3.13'), '3.10 3.13'), ((), 'none'))
  def test_other_pythons_alone(self, versions, found):
    self._install(*versions)
    code, _, errors = self._call('make', 'stack')
    self.assertEqual(code, 2)
    self.assertIn(f'error: no Python 3.11 here (found: {found})', errors)
    self.assertIn('uv python install 3.11', errors)

  def test_a_python_without_venv(self):
    self._install('3.12', no_venv=1)
    code, _, errors = self._call('make', 'stack')
    self.assertEqual(code, 2)
    self.assertIn('apt install python3.12-venv', errors)

  def test_a_folder_of_the_other_stack(self):
    self._install('3.11', '3.12')
    self._python(self.root / '.venv_tf2.20' / 'bin' / 'python', '3.11')
    code, _, errors = self._call('make', 'stack', 'STACK=tf2.20')
    self.assertEqual(code, 2)
    self.assertIn(
      'error: .venv_tf2.20 has another Python than the 3.12 of the stack '
      'tf2.20, or none that runs. Remove the folder (rm -r .venv_tf2.20)',
      errors,
    )

  def test_a_lock_that_cannot_be_installed(self):
    self._install('3.11')
    (self.root / 'setup.py').touch()
    (self.root / 'requirements.lock').write_text('no-such-package==1.0\n')
    # Makes a folder whose pip finds nothing.
    (self.bin / 'python3.11').write_text(
      '#!/bin/sh\n[ "$2" != venv ] || [ "$3" != .venv ] || {\n'
      '  mkdir -p .venv/bin && echo "exit 1" >.venv/bin/python\n'
      '  chmod +x .venv/bin/python\n}\n'
    )
    for command in ('mkdir', 'chmod'):
      (self.bin / command).symlink_to(shutil.which(command))
    code, _, errors = self._call('make', 'venv')
    self.assertEqual(code, 2)
    self.assertIn('error: requirements.lock cannot be installed', errors)
    self.assertFalse((self.root / '.venv' / '.complete').exists())

  def test_an_unknown_stack(self):
    for command in (
      ('make', 'stack'),
      ('sh', 'tools/bazel', 'test'),
      ('sh', 'tools/in_environment.sh', 'ruff', 'check'),
    ):
      code, _, errors = self._call(
        *command, STACK='tf2.17', BAZEL_REAL='/bin/true'
      )
      self.assertNotEqual(code, 0)
      self.assertIn("STACK is 'tf2.17'; it must be tf2.15 or tf2.20", errors)

  @parameterized.parameters(
    # Stack asked for, folders, first on PATH; folder, arguments.
    ('', ('.venv', '.venv_tf2.20'), None, '.venv', 'test //...'),
    ('', ('.venv_tf2.20',), None, '.venv_tf2.20', None),
    ('tf2.20', ('.venv', '.venv_tf2.20'), None, '.venv_tf2.20', None),
    ('', ('.venv', '.venv_tf2.20'), '.venv_tf2.20', '.venv_tf2.20', None),
    ('tf2.20', ('.venv', '.venv_tf2.20'), '.venv', '.venv', 'test //...'),
  )
  def test_bazel(self, stack, folders, active, chosen, arguments):
    for folder in folders:
      (self.root / folder / 'bin').mkdir(parents=True)
    real = self.home / 'real'
    real.write_text('#!/bin/sh\necho "$PATH"\necho "$@"\n')
    real.chmod(0o755)
    path = str(self.bin)
    if active:
      path = f'{self.root / active / "bin"}:{path}'
    _, output, _ = self._call(
      'sh',
      'tools/bazel',
      'test',
      '//...',
      STACK=stack,
      PATH=path,
      BAZEL_REAL=str(real),
    )
    self.assertEqual(
      output.splitlines(),
      [
        f'{self.root / chosen / "bin"}:{self.bin}',
        arguments or 'test --platform_suffix=tf2.20 //...',
      ],
    )

  @parameterized.parameters(
    ('', ('.venv', '.venv_tf2.20'), '.venv'),
    ('', ('.venv_tf2.20',), '.venv_tf2.20'),
    ('tf2.20', ('.venv', '.venv_tf2.20'), '.venv_tf2.20'),
    ('tf2.20', ('.venv',), None),
    ('', (), None),
  )
  def test_hooks_before_a_commit(self, stack, folders, chosen):
    for folder in folders:
      ruff = self.root / folder / 'bin' / 'ruff'
      ruff.parent.mkdir(parents=True)
      ruff.write_text('#!/bin/sh\necho "$0 $*"\n')
      ruff.chmod(0o755)
    code, output, errors = self._call(
      'sh', 'tools/in_environment.sh', 'ruff', 'check', 'a file', STACK=stack
    )
    if chosen is None:
      self.assertEqual((code, output), (1, ''))
      self.assertIn('error: there is no ruff in .venv', errors)
      self.assertIn('`make venv` sets up', errors)
    else:
      ruff = self.root / chosen / 'bin' / 'ruff'
      self.assertEqual((code, output), (0, f'{ruff} check a file\n'), errors)
    # Each hook begins with it.
    config = (ROOT / '.pre-commit-config.yaml').read_text()
    entries = re.findall(r'entry: (.*)', config)
    self.assertLen(entries, 3)
    for entry in entries:
      self.assertStartsWith(entry, 'tools/in_environment.sh ')


if __name__ == '__main__':
  absltest.main()
