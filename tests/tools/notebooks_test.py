"""The notebooks of docs/ run, one after the other, as a reader runs them."""

import hashlib
import importlib.metadata
import json
import os
from unittest import mock

from absl.testing import absltest, parameterized

from official_coatnet import stack
from tests.fixtures import notebooks, repository

_FOLDER = os.path.join(repository.ROOT, 'docs', 'notebooks')
# Each goes on with what the one before has left. And what its output has to
# say: the parameters of CoAtNet-0, and a line of each evaluation.
_NOTEBOOKS = {
  'build': ('parameters 25,', 'table (24, 13, 13)', 'coatnet_1: 42.'),
  'finetune': ("photos {'train': 145, ", '0 to 6: ', '7 to 9: '),
  'read_run': ('best evaluation', 'mean accuracy', "'classes.csv'"),
}
_LARGEST = 20_000
_OUTPUTS = os.path.join(_FOLDER, 'outputs')
_LARGEST_PICTURE = 60_000


def _texts(notebook):
  """Returns all that its cells have printed or shown, pictures as a word."""
  parts = []
  for cell in notebook.cells:
    for output in cell.get('outputs', ()):
      data = output.get('data', {})
      parts += [output.get('text', ''), data.get('text/plain', '')]
      parts += [f'<{kind}>' for kind in data if kind == 'image/png']
  return '\n'.join(parts)


class NotebooksTest(parameterized.TestCase):
  def test_there_are_no_others(self):
    names = {name for name in os.listdir(_FOLDER) if name.endswith('.ipynb')}
    self.assertEqual(names, {f'{name}.ipynb' for name in _NOTEBOOKS})

  @parameterized.parameters(*_NOTEBOOKS)
  def test_nothing_of_a_machine_is_stored(self, name):
    path = os.path.join(_FOLDER, f'{name}.ipynb')
    self.assertLess(os.path.getsize(path), _LARGEST)
    with open(path, encoding='utf-8') as f:
      stored = json.load(f)
    self.assertEqual(stored['metadata']['kernelspec']['name'], 'python3')
    for cell in stored['cells']:
      if cell['cell_type'] == 'code':
        self.assertEqual((cell['outputs'], cell['execution_count']), ([], None))

  @parameterized.parameters(*_NOTEBOOKS)
  def test_the_site_shows_what_this_code_prints(self, name):
    with open(os.path.join(_FOLDER, f'{name}.ipynb'), encoding='utf-8') as f:
      cells = [c for c in json.load(f)['cells'] if c['cell_type'] == 'code']
    with open(os.path.join(_OUTPUTS, f'{name}.json'), encoding='utf-8') as f:
      stored = json.load(f)
    code = json.dumps([''.join(cell['source']) for cell in cells])
    self.assertEqual(
      stored['code'],
      hashlib.sha256(code.encode()).hexdigest(),
      'Run `python -m docs.site.notebooks`.',
    )
    self.assertContainsSubset(stored['cells'], {cell['id'] for cell in cells})
    shown = [each for outputs in stored['cells'].values() for each in outputs]
    texts = '\n'.join(each.get('text', '') for each in shown)
    for word in _NOTEBOOKS[name]:
      self.assertIn(word, texts)
    # Neither folders of a machine nor what a library warns of there.
    self.assertNotRegex(texts, r'(^|[\s\'":])/\w|WARNING')
    pictures = [each['picture'] for each in shown if 'picture' in each]
    self.assertNotEmpty(pictures)
    for picture in pictures:
      path = os.path.join(_OUTPUTS, picture)
      self.assertLess(os.path.getsize(path), _LARGEST_PICTURE)

  def test_they_run(self):
    if stack.has_addons(importlib.metadata.version('tensorflow')):
      self.skipTest('Notebooks run on the stack tf2.20 alone.')
    folder = self.create_tempdir().full_path
    settings = {
      # In a test's sandbox the home folder cannot be written to.
      'HOME': folder,
      'IPYTHONDIR': os.path.join(folder, 'ipython'),
      'JUPYTER_RUNTIME_DIR': os.path.join(folder, 'jupyter'),
      'MPLCONFIGDIR': os.path.join(folder, 'matplotlib'),
      'PYTHONPATH': repository.ROOT,
      'TF_CPP_MIN_LOG_LEVEL': '3',
    }
    with mock.patch.dict(os.environ, settings):
      for name, words in _NOTEBOOKS.items():
        path = os.path.join(_FOLDER, f'{name}.ipynb')
        texts = _texts(notebooks.run(path, folder))
        for word in (*words, '<image/png>'):
          self.assertIn(word, texts, name)


if __name__ == '__main__':
  absltest.main()
