import json
import os
import types

from absl.testing import absltest

from official_coatnet.export import model_card, versions
from official_coatnet.export.options import ExportOptions
from official_coatnet.modeling import complexity
from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import experiments

COUNT = complexity.Count(
  name='x',
  params=25_040_123,
  multiply_adds=4_140_000_007,
  lookup_multiply_adds=3,
  output_shape=(5,),
)


class ModelCardTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.model_dir = self.create_tempdir().full_path

  def _write_metrics(self, *lines):
    with open(os.path.join(self.model_dir, 'metrics.jsonl'), 'w') as f:
      f.write(''.join(json.dumps(line) + '\n' for line in lines))

  def _card(self, *, step=20, group='raw', options=None, **kwargs):
    licence = kwargs.pop('licence', None)
    names_from = kwargs.pop('names_from', None)
    runtime = kwargs.pop('runtime', None)
    return model_card.make_card(
      experiments.make_experiment(**kwargs),
      model_dir=self.model_dir,
      stored=types.SimpleNamespace(prefix=f'/x/ckpt-{step}', group=group),
      count=COUNT,
      options=options or ExportOptions(),
      folded=False,
      licence=licence,
      names_from=names_from,
      runtime=runtime,
    )

  def test_says_what_it_is(self):
    card = self._card(licence='CC0')
    self.assertStartsWith(card, '# coatnet_test\n')
    for text in (
      '25,040,123',
      '4,140,000,007',
      '5 classes, softmax',
      '32 x 32 pixels',
      '## Licence\n\nCC0\n',
      'synthetic images',
      'those of 1, 2, 4, 8 are warmed up',
      'fails the request',
      'curl -d @-',
      'import tensorflow as tf',
    ):
      self.assertIn(text, card)
    # Tables: as many cells in each row as in its head.
    for block in card.split('\n\n'):
      rows = [line for line in block.split('\n') if line.startswith('|')]
      self.assertLessEqual(len({row.count('|') for row in rows}), 1, block)

  def test_of_a_run(self):
    self._write_metrics({'step': 20, 'eval/loss': 0.5, 'eval/top1': 0.25})
    card = model_card.make_run_card(
      experiments.make_experiment(),
      model_dir=self.model_dir,
      stored=types.SimpleNamespace(prefix='/x/ckpt-20', group='raw'),
      count=COUNT,
    )
    for text in (
      '25,040,123',
      '32 x 32 pixels',
      '## Recipe',
      '| top1 | 0.25 |',
    ):
      self.assertIn(text, card)
    # It is no export.
    for text in ('exported', 'graph', 'Signatures', 'warmed up', 'BatchNorm'):
      self.assertNotIn(text, card)

  def test_imported_weights(self):
    origin = model_dir_lib.Origin(
      'timm/x', 'model.safetensors', 'abc', 'https://x', 'apache-2.0', 81.7
    )
    model_dir_lib.write_origin(self.model_dir, origin)
    card = self._card(step=0)
    for text in (
      'They were imported, and not trained by this package',
      '| Source | timm/x |',
      '`model.safetensors`, SHA-256 `abc`',
      '| From | https://x |',
      '81.7 % on the validation images of ImageNet-1K',
      'come from timm/x (apache-2.0), and from data',
    ):
      self.assertIn(text, card)
    self.assertNotIn('## Recipe', card)
    self.assertNotIn('synthetic images', card)
    # A run that starts from there, or from a checkpoint there.
    start = self.model_dir
    self.model_dir = self.create_tempdir('other').full_path
    for path in (start, f'{start}/ckpt-0'):
      card = self._card(run={'init_checkpoint': path})
      self.assertIn(f'| Started from | timm/x ({path}) |', card)
      self.assertIn('come from timm/x (apache-2.0)', card)
      self.assertIn('## Recipe', card)

  def test_preprocessing(self):
    self.assertIn(
      'the middle 0.875 of each side, bilinear to 32 x 32; red, green and blue '
      'in 0..1 less 0.485, 0.456, 0.406, divided by 0.229, 0.224, 0.225; all',
      self._card(),
    )
    prepared = {'mean': (0.5, 0.5, 0.5), 'interpolation': 'bicubic'}
    self.assertIn(
      'the whole image, squeezed, bicubic to 32 x 32; red, green and blue in '
      '0..1 less 0.5, 0.5, 0.5, divided by 0.229, 0.224, 0.225; all',
      self._card(
        train_data=prepared, eval_data={**prepared, 'center_crop': False}
      ),
    )

  def _python(self, card):
    """Returns the blocks of Python in a card."""
    blocks, block = [], []
    for line in [*card.split('\n'), 'end']:
      if line.startswith('    ') or (block and not line):
        block.append(line[4:])
      elif block:
        blocks.append('\n'.join(block))
        block = []
    return [b for b in blocks if b.startswith('import')]

  def test_python_in_it_compiles(self):
    python = self._python(self._card())
    self.assertLen(python, 2)
    for source in python:
      compile(source, 'card', 'exec')

  def test_other_runtimes(self):
    """What is of SavedModels is not there; the rest in runtime_card_test.py."""
    card = self._card(
      runtime=versions.Provenance(
        model_dir='/x',
        checkpoint='ckpt-20',
        weights='raw',
        folded=False,
        options=ExportOptions(),
        format='onnx',
      )
    )
    self.assertIn('by official_coatnet as a file for ONNX runtimes.', card)
    self.assertIn('the last two are in the graph', card)
    self.assertIn('## Input and output', card)
    self.assertIn('coatnet_test', card)
    self.assertNotIn('SavedModel', card)
    self.assertNotIn('serving_default', card)

  def test_metrics_of_the_checkpoint(self):
    self.assertIn('did not evaluate itself', self._card())
    self._write_metrics(
      {'step': 10, 'eval/loss': 1.5, 'eval/top1': 0.25},
      {'step': 20, 'train/loss': 7.0},
      {'step': 20, 'eval/loss': 0.5, 'eval/top1': 0.75, 'eval/top5': None},
      {'step': 30, 'eval/loss': 0.25, 'eval/top1': 0.875},
      # On other data: not the run's own.
      {'step': 30, 'eval/loss': 9.0, 'eval/top1': 0, 'eval/otherwise': 1.0},
    )
    card = self._card(step=10)
    self.assertIn('at step 10.', card)
    self.assertIn('| top1 | 0.25 |', card)
    self.assertIn('| top1 | 0.75 |', self._card(step=20))
    self.assertNotIn('top5', card)
    card = self._card(step=25)
    self.assertIn('at step 30. The exported weights are of step 25.', card)

  def test_metrics_of_other_weights(self):
    self._write_metrics({'step': 20, 'eval/loss': 1.5})
    ema = {'optimizer': {'ema_decay': 0.9}}
    note = 'It evaluated the weights'
    self.assertNotIn(note, self._card(group='ema', **ema))
    self.assertIn(f'{note} `ema`', self._card(group='raw', **ema))
    self.assertNotIn(note, self._card(group='raw'))

  def test_whose_names_the_classes_have(self):
    self.assertNotIn('Class names', self._card())
    card = self._card(names_from='those of the run')
    self.assertIn('| Class names | those of the run |', card)

  def test_options(self):
    card = self._card(
      options=ExportOptions(
        batch_sizes=(1, 64),
        threshold=0.25,
        answer_bad_images=True,
        stage_maps=True,
      ),
      loss={'name': 'sigmoid'},
    )
    for text in ('1, 64', 'from probability 0.25', '`ok`', '`s0`'):
      self.assertIn(text, card)
    self.assertNotIn('`labels`', self._card())


if __name__ == '__main__':
  absltest.main()
