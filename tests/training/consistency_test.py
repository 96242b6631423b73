"""Tests of training.consistency; stored_data_test has what is compared."""

import dataclasses
import os
import shutil

import tensorflow as tf
from absl.testing import absltest

from official_coatnet.data import sources as sources_lib
from official_coatnet.training import consistency, model_dir as model_dir_lib
from tests.fixtures import experiments as fixture


def _source(names=('a', 'b', 'c', 'd', 'e'), **fields):
  source = sources_lib.tfrecord_source(['x'], schema='imagenet', counts=[8])
  return dataclasses.replace(source, num_classes=5, class_names=names, **fields)


def _experiment(**kwargs):
  data = {'source': 'tfrecord', 'data_dir': '/records'}
  return fixture.make_experiment(
    **{'train_data': data, 'eval_data': data, **kwargs}
  )


class ConsistencyTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.sources = {'train_data': _source(), 'eval_data': _source()}

  def write(self, experiment=None, *, is_new=True, checkpoint=True):
    consistency.write_start(
      experiment or _experiment(),
      self.sources,
      model_dir=self.folder,
      is_new=is_new,
    )
    if checkpoint:
      tf.train.Checkpoint(step=tf.Variable(1)).save(
        os.path.join(self.folder, 'ckpt')
      )

  def examine(self, experiment=None, *, mode='train_and_eval', **sources):
    return consistency.examine(
      experiment or _experiment(),
      {**self.sources, **sources},
      mode=mode,
      model_dir=self.folder,
    )

  def read(self, name):
    with open(os.path.join(self.folder, name)) as f:
      return f.read()

  def test_what_a_run_begins_with_stays(self):
    self.write()
    before = self.read('data.json'), self.read('labels.txt')
    self.assertEqual(before[1], 'a\nb\nc\nd\ne\n')
    data = model_dir_lib.read_data(self.folder)
    self.assertEqual(data.train.class_names, ('a', 'b', 'c', 'd', 'e'))
    self.assertEqual(
      (data.train.label_offset, data.train.num_examples), (-1, 8)
    )
    self.sources['train_data'] = _source(('v', 'w', 'x', 'y', 'z'))
    self.write(_experiment(run={'train_steps': 9}), is_new=False)
    self.assertEqual((self.read('data.json'), self.read('labels.txt')), before)
    experiment = model_dir_lib.read_experiment(self.folder)
    self.assertEqual(experiment.run.train_steps, 9)

  def test_each_mode_compares_what_it_reads(self):
    self.write()
    other = _source(('b', 'c', 'd', 'e', 'z'))
    for mode, split, wrong in (
      ('train', 'train_data', True),
      ('train', 'eval_data', False),
      ('train_and_eval', 'train_data', True),
      ('train_and_eval', 'eval_data', True),
      ('eval', 'train_data', False),
      ('eval', 'eval_data', True),
      ('continuous_eval', 'eval_data', True),
    ):
      found = self.examine(mode=mode, **{split: other})
      self.assertLen(found.problems, int(wrong), (mode, split))
    accepting = _experiment(run={'accept_other_data': True})
    found = self.examine(accepting, train_data=other)
    self.assertEqual(found.problems, [])
    self.assertIn("class 0 was 'a' and is now 'b'", '\n'.join(found.notes))

  def test_a_run_without_a_checkpoint_begins_anew(self):
    self.write(checkpoint=False)
    other = _source(('b', 'c', 'd', 'e', 'z'))
    found = self.examine(train_data=other, eval_data=other)
    self.assertEqual(found.problems, [])
    # Its two splits have to agree all the same.
    self.assertLen(self.examine(train_data=other).problems, 1)

  def test_last_layer_of_another_run(self):
    self.write()
    mine = self.create_tempdir().full_path
    other = _source(('b', 'c', 'd', 'e', 'z'))
    experiment = _experiment(run={'init_checkpoint': self.folder})
    for mode, count in (('train', 1), ('eval', 0)):
      found = consistency.examine(
        experiment, {'train_data': other}, mode=mode, model_dir=mine
      )
      self.assertLen(found.problems, count)

  def test_settings_that_are_others(self):
    self.write()
    self.assertEqual(self.examine().notes, [])
    data = {'source': 'tfrecord', 'data_dir': '/moved', 'prefetch': 7}
    self.assertEqual(
      self.examine(_experiment(train_data=data, eval_data=data)).notes, []
    )
    other = _experiment(
      train_data={**data, 'batch_size': 8},
      eval_data={**data, 'eval_crop_fraction': 0.5},
    )
    found = self.examine(other)
    self.assertTrue(found.other_evaluation_settings)
    for part in (
      'train_data.batch_size was 4 and is now 8',
      'eval_data.eval_crop_fraction was 0.875 and is now 0.5',
    ):
      self.assertIn(part, found.notes[0])
    found = self.examine(other, mode='eval')
    self.assertNotIn('batch_size', found.notes[0])
    self.assertIn('eval_crop_fraction', found.notes[0])
    found = self.examine(_experiment(loss={'name': 'sigmoid'}), mode='eval')
    self.assertIn("loss.name was 'softmax' and is now 'sig", found.notes[0])
    bicubic = {**data, 'interpolation': 'bicubic'}
    found = self.examine(
      _experiment(train_data=bicubic, eval_data=bicubic), mode='eval'
    )
    self.assertTrue(found.other_evaluation_settings)
    # To name the weights that it takes anyway changes nothing.
    raw = _experiment(run={'weights': 'raw'})
    self.assertFalse(self.examine(raw, mode='eval').other_evaluation_settings)

  def test_notes_are_logged_and_problems_raised(self):
    self.write()
    other = _source(('b', 'c', 'd', 'e', 'z'))
    arguments = dict(mode='eval', model_dir=self.folder)
    with self.assertRaisesRegex(ValueError, "class 0 was 'a' and is now 'b'"):
      consistency.check(_experiment(), {'eval_data': other}, **arguments)
    os.remove(os.path.join(self.folder, 'data.json'))
    with self.assertLogs(level='WARNING') as logs:
      consistency.check(_experiment(), self.sources, **arguments)
    self.assertIn('kept no data.json', logs.output[0])

  def test_damaged_files(self):
    self.write()
    with open(os.path.join(self.folder, 'data.json'), 'w') as f:
      f.write('{')
    (problem,) = self.examine().problems
    self.assertRegex(problem, 'data.json cannot be read')
    os.remove(os.path.join(self.folder, 'data.json'))
    with open(os.path.join(self.folder, 'labels.txt'), 'wb') as f:
      f.write(b'\xff\n')
    (problem,) = self.examine().problems
    self.assertRegex(problem, 'labels.txt cannot be read')

  def test_names_too_many_for_the_record_are_read_from_labels(self):
    names = tuple(f'class {i}' for i in range(2001))
    source = dataclasses.replace(_source(names), num_classes=2001)
    self.sources = {'train_data': source, 'eval_data': source}
    size = {'num_classes': 2001}
    data = {'source': 'tfrecord', 'data_dir': '/records', **size}
    experiment = _experiment(model=size, train_data=data, eval_data=data)
    self.write(experiment)
    self.assertNotIn('class 1000', self.read('data.json'))
    other = dataclasses.replace(source, class_names=(*names[:-1], 'z'))
    (problem,) = self.examine(experiment, train_data=other).problems[:1]
    self.assertIn("class 2000 was 'class 2000' and is now 'z' (1 of", problem)
    shutil.move(os.path.join(self.folder, 'labels.txt'), self.folder + '.gone')
    (problem,) = self.examine(experiment, train_data=other).problems[:1]
    self.assertIn('the list of class names was of checksum', problem)


if __name__ == '__main__':
  absltest.main()
