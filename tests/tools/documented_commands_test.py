"""Every command of README.md and docs/ is run, or checked with a reason.

documented_commands.txt has them all. One that it does not have fails, and so
does one that it has and no page shows. Whatever is said of a command, its tool,
its flags and their values, its gin file and bindings, its target of make or its
module of tests are there.
"""

import ast
import importlib.util
import os
import pathlib
import re
import shlex
import shutil

import gin
import numpy as np
from absl import flags
from absl.testing import absltest
from PIL import Image

from official_coatnet.training import gin_config
from tests.compatibility import command_line
from tests.fixtures import documented, repository, tool_calls

_TABLE = os.path.join(
  repository.ROOT, 'tests', 'tools', 'documented_commands.txt'
)
# Of tests, those that others name need not stand beside this one.
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_STORED = os.path.join(repository.ROOT, 'tests', 'compatibility', 'v0_1')
_TOOL = re.compile(r'\bpython (tools/[\w/]+\.py)\b *([^;&|]*)')
# What stands for something else.
_PLACEHOLDER = re.compile(r'\.\.\.|\$|^[A-Z]+$|\[')
_SECONDS = 600


def read_table(path=_TABLE):
  """Returns what is said of each command: 'run', 'run with' or 'not run'."""
  with open(path, encoding='utf-8') as f:
    blocks = f.read().split('\n$ ')[1:]
  said = {}
  for block in blocks:
    command, _, words = block.partition('\n')
    kind, _, rest = ' '.join(words.split()).partition(':')
    said[command] = kind, rest.strip()
  return said


def entry_of(command, said):
  """Returns the entry of a command: its own, or one that ends with '*'."""
  if command in said:
    return command
  fitting = [
    entry
    for entry in said
    if entry.endswith('*') and command.startswith(entry[:-1])
  ]
  return max(fitting, key=len, default=None)


class DocumentedCommandsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.said = read_table()
    cls.commands = documented.commands()
    # Model Garden, which one tool imports, registers names with gin.
    with gin.unlock_config():
      cls.known = {tool: command_line.flags_of(tool) for tool in cls._by_tool()}

  def test_every_command_is_in_the_table_and_the_other_way_round(self):
    used = set()
    for command in self.commands:
      entry = entry_of(command.text, self.said)
      self.assertIsNotNone(
        entry,
        f'{command.page} shows `{command.text}`; say in {_TABLE} that it is '
        'run, or why it is not.',
      )
      used.add(entry)
    self.assertEmpty(set(self.said) - used, 'No page shows these.')

  def test_what_is_not_run_has_a_reason(self):
    for command, (kind, rest) in self.said.items():
      self.assertIn(kind, ('run', 'run with', 'not run'), command)
      if kind != 'run':
        self.assertGreater(len(rest), 8, command)

  def test_tools_and_flags(self):
    for tool, texts in self._by_tool().items():
      self.assertTrue(os.path.exists(os.path.join(repository.ROOT, tool)), tool)
      known = command_line.flags_of(tool)
      for text in texts:
        with self.subTest(tool=tool, arguments=text):
          self._check_flags(text, known)

  def test_gin_files_and_bindings(self):
    for tool, texts in self._by_tool().items():
      for text in texts:
        with self.subTest(tool=tool, arguments=text):
          self._check_gin(_arguments(text))

  def test_make_and_modules(self):
    with open(os.path.join(repository.ROOT, 'Makefile')) as f:
      targets = set(re.findall(r'^([\w-]+):', f.read(), re.M))
    with open(os.path.join(repository.ROOT, 'setup.py')) as f:
      extras = set(re.findall(r"^    '(\w+)': \[", f.read(), re.M))
    for command in self.commands:
      with self.subTest(command.text):
        if match := re.match(r'make ([\w-]+)', command.text):
          self.assertIn(match.group(1), targets)
        if match := re.search(r'python -m (tests[\w.]+)', command.text):
          path = CHECKOUT.joinpath(*match.group(1).split('.'))
          self.assertTrue(path.with_suffix('.py').is_file(), path)
        for names in re.findall(
          r'pip install .*(?:official_coatnet|\.)\[([\w,]+)\]', command.text
        ):
          self.assertLessEqual(set(names.split(',')), extras)

  def test_python_imports_what_there_is(self):
    number = 0
    for page in documented.pages():
      with open(os.path.join(repository.ROOT, page)) as f:
        trees = list(documented.python_blocks(f.read()))
      for tree in trees:
        number += 1
        for node in ast.walk(tree):
          if isinstance(node, ast.ImportFrom) and node.module.startswith(
            'official_coatnet'
          ):
            module = importlib.import_module(node.module)
            for alias in node.names:
              name = f'{node.module}.{alias.name}'
              if not hasattr(module, alias.name):
                self.assertIsNotNone(importlib.util.find_spec(name), page)
    self.assertGreater(number, 5)

  def test_messages_are_said(self):
    """Each of docs/messages.md stands in the code, or in the tour."""
    texts = []
    for top in ('official_coatnet', 'tools', 'tests/tools/tour.txt'):
      path = pathlib.Path(repository.ROOT, top)
      for file in path.rglob('*.py') if path.is_dir() else [path]:
        # Long texts stand on several lines.
        text = file.read_text(encoding='utf-8')
        texts.append(' '.join(re.sub(r"'\s*\n\s*f?'", '', text).split()))
    page = pathlib.Path(repository.ROOT, 'docs', 'messages.md').read_text()
    messages = re.findall(r'^\| `(.+?)` \|', page, re.M)
    self.assertGreater(len(messages), 20)
    for message in messages:
      with self.subTest(message):
        self.assertTrue(any(message in text for text in texts))

  def test_commands_run(self):
    folder = self.create_tempdir().full_path
    _make_folder(folder)
    tools = tool_calls.Tools(timeout=_SECONDS)
    self.addCleanup(tools.close)
    done = set()
    for command in self.commands:
      kind, rest = self.said[entry_of(command.text, self.said)]
      if kind == 'not run' or command.text in done:
        continue
      done.add(command.text)
      with self.subTest(command.text):
        tool, arguments = _TOOL.search(command.text).groups()
        arguments = shlex.split(arguments)
        if kind == 'run with':
          arguments += shlex.split(rest)
        result = tools.run(tool, arguments, folder=folder)
        self.assertEqual(result.code, 0, f'{result.output}\n{result.errors}')
    self.assertGreater(len(done), 12)

  @classmethod
  def _by_tool(cls):
    """Returns the arguments with which pages call each tool."""
    found = {}
    for command in cls.commands:
      for tool, text in _TOOL.findall(command.text):
        if 'NAME' not in tool:
          found.setdefault(tool, []).append(text)
    return found

  def _check_flags(self, text, known):
    for argument in _arguments(text):
      if not argument.startswith('--'):
        continue
      name, has_value, value = argument[2:].partition('=')
      if name in ('help', 'traceback'):
        continue
      if name not in known and not has_value:
        name = name.removeprefix('no')
        self.assertIsInstance(known.get(name), flags.BooleanFlag, argument)
      self.assertIn(name, known)
      if has_value and not _PLACEHOLDER.search(value):
        known[name].parser.parse(value)

  def _check_gin(self, arguments):
    values = [a.partition('=') for a in arguments if a.startswith('--gin_')]
    names = [value for flag, _, value in values if flag == '--gin_file']
    bindings = [value for flag, _, value in values if flag == '--gin_bindings']
    if not names or not names[0].startswith('gin/') or '...' in names[0]:
      return
    # Network and image size of weights that are not here.
    bindings = [
      each
      for each in bindings
      if each.replace(' ', '') not in ('MODEL=None', 'IMAGE_SIZE=None')
    ]
    gin_config.load(names, bindings, root=repository.ROOT)


def _arguments(text):
  return shlex.split(text.replace('[', '').replace(']', ''))


def _make_folder(folder):
  """Makes what the commands name, of a small run, its export and its data."""

  def copy(name, to):
    shutil.copytree(os.path.join(_STORED, name), os.path.join(folder, to))

  copy('model_dir', 'runs/demo/model')
  copy('model_dir', 'runs/custom')
  copy('exports', 'runs/demo/export')
  copy('data', 'D')
  copy('images', 'images')
  rng = np.random.default_rng(0)
  for name in ('circle', 'square', 'stripes'):
    os.makedirs(os.path.join(folder, 'photos', name))
    for number in range(6):
      pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
      path = os.path.join(folder, 'photos', name, f'{number:03d}.jpg')
      Image.fromarray(pixels).save(path)
  shutil.copy(path, os.path.join(folder, 'photo.jpg'))
  for name, lines in {
    'names.txt': ['red wine', 'cheese'],
    'photos.csv': [
      'image,label',
      *(f'circle/{i:03d}.jpg,red wine' for i in range(6)),
      *(f'square/{i:03d}.jpg,cheese' for i in range(6)),
    ],
    'train.jsonl': ['{"image": "hen.png", "labels": [0, 2]}'],
    'validation.jsonl': ['{"image": "crane.png", "labels": [1]}'],
  }.items():
    with open(os.path.join(folder, name), 'w') as f:
      f.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
  absltest.main()
