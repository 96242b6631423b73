"""A run whose data are built again, with other classes, after it has ended.

Each step is what a user would do: records from a folder of class folders, a
training, a folder renamed and the records built once more.
"""

import json
import os
import tempfile

import numpy as np
from absl.testing import absltest
from PIL import Image

from official_coatnet.export import saved_model, versions
from official_coatnet.export.verify import verification
from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import shard_files, train_tool

_SETTINGS = (
  "MODEL = 'coatnet_test'",
  'IMAGE_SIZE = 32',
  'NUM_CLASSES = 3',
  'BATCH_SIZE = 8',
  'EPOCHS = None',
  'TRAIN_STEPS = 2',
  'WARMUP_STEPS = 0',
  'RunConfig.eval_interval_epochs = None',
  'OptimizerConfig.ema_decay = None',
  'train/DataConfig.randaugment = None',
)


def _train(folder, *bindings, model_dir='run', data='records', **flags):
  path = os.path.join(folder, data)
  train_tool.call(
    gin_file=['gin/demo.gin'],
    gin_bindings=[*_SETTINGS, f"DATA_DIR = '{path}'", *bindings],
    model_dir=os.path.join(folder, model_dir),
    **flags,
  )


def _build(folder, data):
  shard_files.write_folder(
    os.path.join(folder, 'images'),
    os.path.join(folder, data),
    validation_fraction=0.3,
    num_shards=1,
  )


class OtherDataTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.run_dir = os.path.join(cls.folder, 'run')
    images = os.path.join(cls.folder, 'images')
    for name in 'abc':
      os.makedirs(os.path.join(images, name))
      for i in range(12):
        shade = np.full([40, 40, 3], 20 * i, np.uint8)
        Image.fromarray(shade).save(os.path.join(images, name, f'{i}.png'))
    _build(cls.folder, 'records')
    _train(cls.folder, mode='train')
    os.rename(os.path.join(images, 'a'), os.path.join(images, 'z'))
    _build(cls.folder, 'renamed')

  def files(self):
    """Returns what the run has written, but for checkpoints and events."""
    result = {}
    for name in os.listdir(self.run_dir):
      if name.endswith(('.json', '.gin', '.txt', '.jsonl')):
        with open(os.path.join(self.run_dir, name)) as f:
          result[name] = f.read()
    return result

  def test_the_run_keeps_its_classes(self):
    before = self.files()
    self.assertEqual(before['labels.txt'], 'a\nb\nc\n')
    data = json.loads(before['data.json'])
    for split in ('train', 'validation'):
      self.assertEqual(data[split]['class_names'], ['a', 'b', 'c'])
      self.assertEqual(data[split]['known_from'], 'manifest')
    self.assertEqual(data['train']['label_offset'], -1)
    self.assertIs(data['train']['exif_orientation'], False)
    self.assertNotEqual(data['train']['content'], data['validation']['content'])
    examples = sum(data[s]['num_examples'] for s in ('train', 'validation'))
    self.assertEqual(examples, 36)
    for mode in ('eval', 'continuous_eval', 'train', 'train_and_eval'):
      with self.assertRaisesRegex(
        SystemExit, "cannot start:(.|\n)*class 0 was 'a' and is now 'b'"
      ):
        _train(self.folder, mode=mode, data='renamed')
    self.assertEqual(self.files(), before)

    path = saved_model.export(self.run_dir, os.path.join(self.folder, 'out'))
    labels = os.path.join(path, versions.LABELS_FILE)
    self.assertEqual(
      versions.read_labels(labels, num_classes=3), ['a', 'b', 'c']
    )
    self.assertEqual(
      versions.read_data(path), model_dir_lib.read_data(self.run_dir)
    )
    provenance = versions.read_provenance(path)

    def problems():
      check = verification.check_run(path, provenance, model_dir=self.run_dir)
      return check.problems

    self.assertEqual(problems(), [])
    with open(labels, 'w') as f:
      f.write('b\nc\nz\n')
    (problem,) = problems()
    self.assertIn("class 0 is 'a' in the run and 'b' in the export", problem)

  def test_fine_tuning_on_as_many_other_classes(self):
    init = f"INIT_CHECKPOINT = '{self.run_dir}'"
    with self.assertRaisesRegex(SystemExit, "'a' and is now 'b'.*last layer"):
      _train(self.folder, init, model_dir='tuned', data='renamed')
    self.assertFalse(os.path.exists(os.path.join(self.folder, 'tuned')))

  def test_dry_run_in_the_folder_of_a_run(self):
    before = self.files()
    with self.assertRaisesRegex(SystemExit, "'tfrecord' and is now 'synth"):
      _train(self.folder, dry_run=True)
    self.assertEqual(self.files(), before)

  def test_finished_run_is_started_with_other_settings(self):
    before = self.files()
    with self.assertLogs(level='WARNING') as logs:
      _train(
        self.folder,
        "LossConfig.name = 'sigmoid'",
        'eval/DataConfig.eval_crop_fraction = 0.5',
      )
    words = '\n'.join(logs.output)
    self.assertIn("loss.name was 'softmax' and is now 'sigmoid'", words)
    self.assertIn('eval_crop_fraction was 0.9 and is now 0.5', words)
    self.assertIn('its folder keeps what it began with', words)
    after = self.files()
    before.pop('metrics.jsonl')
    last = json.loads(after.pop('metrics.jsonl').splitlines()[-1])
    self.assertEqual(last['eval/otherwise'], 1.0)
    self.assertEqual(after, before)


if __name__ == '__main__':
  absltest.main()
