"""A newcomer's tour: wrong flags and wrong files, in every tool.

tour.txt has the command lines, and what each of them answers, in the folder
that `_make_folder` makes. Whatever the words are, none of them is a traceback,
or speaks of the insides of TensorFlow.
"""

import collections
import os
import re
import shlex
import shutil

import tensorflow as tf
from absl.testing import absltest

from tests.fixtures import repository, tool_calls

_TOUR = os.path.join(repository.ROOT, 'tests', 'tools', 'tour.txt')
# What a tool that is slow, on a machine that is, says on its way.
_PROGRESS = re.compile(r'^.*, \d+:\d\d:\d\d, .* to go\n', re.M)
_STORED = os.path.join(repository.ROOT, 'tests', 'compatibility', 'v0_1')
_AT_LEAST = 8  # Command lines a tool.
# Tracebacks, status codes, and words of graphs, protocol buffers and C++.
_INSIDES = re.compile(
  r'Traceback|File "|function_node|\[\[|\{\{|OpKernel|sstable|<class|<ast'
  r"|0x[0-9a-f]{6}|NoneType|(?<![\w'])b'|UNKNOWN|[A-Z]+_(ARGUMENT|PRECONDITION)"
  r'|(NotFound|FailedPrecondition|InvalidArgument|DataLoss|OutOfRange|Key|Index'
  r'|Attribute|Type|Lookup|Assertion|JSONDecode)Error'
)


def _make_folder(folder):
  """Makes what the command lines name, of a real run, export and records."""

  def copy(name, to):
    shutil.copytree(os.path.join(_STORED, name), os.path.join(folder, to))

  def write(name, contents):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
      f.write(contents)

  def cut(name, size):
    os.truncate(os.path.join(folder, name), size)

  for name, to in (
    ('model_dir', 'run'),
    ('model_dir', 'cut_weights'),
    ('model_dir', 'cut_index'),
    ('model_dir', 'bad_run'),
    ('model_dir', 'new_run'),
    ('exports', 'exports'),
    ('exports', 'cut_export'),
    ('exports', 'cut_variables'),
    ('exports', 'bad_export'),
    ('data', 'data'),
    ('data', 'cut_data'),
    ('data', 'bad_data'),
    ('images', 'images'),
  ):
    copy(name, to)
  shutil.copy(os.path.join(_STORED, 'run.gin'), folder)
  os.makedirs(os.path.join(folder, 'empty'))
  for name in ('hen', 'crane'):
    os.makedirs(os.path.join(folder, 'classes', name))
    shutil.copy(
      os.path.join(folder, 'images', f'{name}.png'),
      os.path.join(folder, 'classes', name),
    )
  cut('cut_weights/ckpt-6.data-00000-of-00001', 300)
  cut('cut_index/ckpt-6.index', 100)
  cut('cut_export/1/saved_model.pb', 1000)
  cut('cut_variables/1/variables/variables.index', 100)
  cut('cut_data/train-00000-of-00002', 500)
  os.remove(os.path.join(folder, 'new_run', 'metrics.jsonl'))
  for name, contents in (
    ('notes.txt', 'hello\n'),
    ('bad_run/experiment.json', '{"model": '),
    ('bad_export/1/export.json', '{"options": '),
    ('bad_data/manifest-train.json', '{"split": '),
    ('bad.yaml', 'runtime:\n  a: [1\n'),
    ('open.gin', "include 'gin/demo.gin'\nIMAGE_SIZE = (32, 32\nSEED = 3\n"),
    ('comma.gin', "ModelConfig.rematerialize = (\n  'a'\n  'b',\n)\n"),
    ('loop.gin', "include 'loop.gin'\n"),
    ('list.csv', 'image,labels\nhen.png,1\n'),
    ('short.csv', 'image,labels\nhen.png\n'),
    ('cut.jsonl', '{"image": "hen.png", "labels": [1'),
    ('cut.safetensors', '\x10\0\0\0\0\0\0\0{"a'),
    ('archives/ILSVRC2012_img_train.tar', 'hello\n' * 200),
    ('archives/fall11_whole.tar', 'hello\n' * 200),
  ):
    write(name, contents)
  module = tf.Module()
  module.function = tf.function(
    lambda x: {'y': x}, input_signature=[tf.TensorSpec([None], tf.float32)]
  )
  signatures = {'serving_default': module.function}
  path = os.path.join(folder, 'other_export', '1')
  tf.saved_model.save(module, path, signatures=signatures)


def read_tour(path=_TOUR):
  """Yields pairs of a command line and what it answers, as one line."""
  with open(path, encoding='utf-8') as f:
    blocks = f.read().split('\n$ ')[1:]
  for block in blocks:
    command, _, words = block.partition('\n')
    yield command, ' '.join(words.split())


class TourTest(absltest.TestCase):
  def test_tour(self):
    folder = self.create_tempdir().full_path
    _make_folder(folder)
    tools = tool_calls.Tools()
    self.addCleanup(tools.close)
    number = collections.Counter()
    for command, expected in read_tour():
      tool, *arguments = shlex.split(command)
      number[tool] += 1
      with self.subTest(command):
        result = tools.run(f'tools/{tool}', arguments, folder=folder)
        errors = _PROGRESS.sub('', result.errors)
        words = ' '.join(f'{result.output}\n{errors}'.split())
        words = words.replace(folder, '<here>')
        self.assertEqual(result.code, 1, words)
        self.assertIn(expected, words)
        self.assertNotRegex(words, _INSIDES)
    self.assertGreaterEqual(min(number.values()), _AT_LEAST, number)
    self.assertEqual(set(number), self._tools())

  def _tools(self):
    """Returns the files in tools/ that end as a tool does."""
    root = os.path.join(repository.ROOT, 'tools')
    found = set()
    for folder in (root, os.path.join(root, 'benchmark')):
      for name in os.listdir(folder):
        if name.endswith('.py') and name != 'prologue.py':
          with open(os.path.join(folder, name), encoding='utf-8') as f:
            if 'tools.prologue.run(main' in f.read():
              found.add(os.path.relpath(os.path.join(folder, name), root))
    return found


if __name__ == '__main__':
  absltest.main()
