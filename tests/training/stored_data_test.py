"""Tests of training.stored_data."""

import dataclasses
import os

from absl.testing import absltest

from official_coatnet.data import facts as facts_lib
from official_coatnet.training import model_dir as model_dir_lib, stored_data
from tests.fixtures import experiments as fixture

ABC, BCZ = ('a', 'b', 'c'), ('b', 'c', 'z')


def _split(names=ABC, **fields):
  return facts_lib.SplitFacts(
    **{
      'source': 'tfrecord',
      'split': 'train',
      'num_classes': 3,
      'known_from': 'manifest',
      'class_names': names,
      'class_digest': names and facts_lib.digest(names),
      'schema': 'imagenet',
      'label_offset': -1,
      'num_examples': 8,
      **fields,
    }
  )


def _experiment(*, num_examples=8, **run):
  data = {
    'source': 'tfrecord',
    'data_dir': '/records',
    'num_classes': 3,
    'num_examples': num_examples,
  }
  return fixture.make_experiment(
    model={'num_classes': 3}, train_data=data, eval_data=data, run=run
  )


class StoredDataTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def write(self, train=None, validation=None):
    train = train or _split()
    facts = facts_lib.DataFacts(train, validation or train)
    model_dir_lib.write_data(self.folder, facts)

  def compare(self, *, train=None, evaluation=None, accepts=False):
    now = {'train_data': train, 'eval_data': evaluation}
    findings = stored_data.Findings(accepts)
    stored_data.compare_with_run(
      findings,
      _experiment(),
      {split: facts for split, facts in now.items() if facts},
      model_dir=self.folder,
    )
    return findings

  def initialize(self, now, *, path=None, **run):
    findings = stored_data.Findings()
    stored_data.compare_with_init_checkpoint(
      findings,
      _experiment(init_checkpoint=path or self.folder, **run),
      {'train_data': now},
    )
    return findings

  def test_the_same_data(self):
    self.write()
    self.assertEqual(
      self.compare(train=_split(), evaluation=_split()), stored_data.Findings()
    )

  def test_other_classes_stop_training(self):
    self.write()
    # Both splits have them: it is said once.
    (problem,) = self.compare(
      train=_split(BCZ), evaluation=_split(BCZ)
    ).problems
    self.assertIn(f"The run in '{self.folder}' was trained on other", problem)
    self.assertIn("`train_data` (/records, split 'train') has: ", problem)
    self.assertIn("class 0 was 'a' and is now 'b' (3 of 3", problem)
    self.assertIn(f"init_checkpoint = '{self.folder}'", problem)
    self.assertIn('set RunConfig.accept_other_data = True', problem)

  def test_other_classes_stop_evaluation(self):
    self.write()
    (problem,) = self.compare(evaluation=_split(BCZ)).problems
    self.assertRegex(problem, r"`eval_data` .*class 0 was 'a' and is now 'b'")

  def test_accepted_they_are_said(self):
    self.write()
    found = self.compare(train=_split(BCZ), accepts=True)
    self.assertEqual(found.problems, [])
    self.assertRegex(found.notes[0], "class 0 was 'a'.*Accepted, as RunConfig")
    self.assertNotIn('DATA_DIR', found.notes[0])

  def test_training_on_other_images_of_the_same_classes(self):
    self.write()
    for fields, phrase in (
      ({'num_examples': 9}, '`num_examples` was 8 and is now 9'),
      ({'label_offset': 0}, '`label_offset` was -1 and is now 0'),
      ({'schema': 'multilabel'}, "`schema` was 'imagenet' and is now 'multi"),
      ({'exif_orientation': True}, '`exif_orientation` was False and is now'),
    ):
      (problem,) = self.compare(train=_split(**fields)).problems
      self.assertIn(phrase, problem)
      self.assertRegex(problem, 'records that were repaired, set RunConfig')

  def test_dry_run_and_run_in_one_folder(self):
    made_up = _split(None, source='synthetic', known_from=None)
    for then, now in ((made_up, _split()), (_split(), made_up)):
      self.write(then)
      (problem,) = self.compare(train=now).problems
      self.assertRegex(problem, 'Made-up images are for dry runs: give them')
      (problem,) = self.compare(evaluation=now).problems
      self.assertRegex(problem, 'Made-up images are for dry runs: give them')

  def test_another_evaluation_set_is_said(self):
    self.write()
    found = self.compare(
      evaluation=_split(num_examples=80, schema='multilabel', label_offset=0)
    )
    self.assertEqual(found.problems, [])
    self.assertTrue(found.other_evaluation_data)
    self.assertRegex(found.notes[0], "not the run's own .*was 8 and is now 80")

  def test_records_that_were_built_again_are_said(self):
    self.write(_split(content='0'))
    for now, said in (('0', 0), (None, 0), ('1', 1)):
      found = self.compare(
        train=_split(content=now), evaluation=_split(content='0')
      )
      self.assertEqual(found.problems, [])
      self.assertLen(found.notes, said)
    self.assertRegex(found.notes[0], '`train_data` .* built again, perhaps of')

  def test_labels_without_names_that_would_mean_other_classes(self):
    self.write(_split(None))
    found = self.compare(evaluation=_split(None, label_offset=0))
    self.assertRegex(found.problems[0], '`label_offset` was -1 and is now 0')

  def test_names_that_are_there_no_more(self):
    self.write()
    found = self.compare(train=_split(None, known_from=None))
    self.assertEqual(found.problems, [])
    self.assertRegex(found.notes[0], '`train_data`.*does not name its classes')

  def test_folder_of_an_earlier_version(self):
    model_dir_lib.write_experiment(self.folder, _experiment())
    found = self.compare(train=_split(BCZ))
    self.assertEqual(found.problems, [])
    self.assertRegex(found.notes[0], 'kept no data.json.*of classes and of im')
    model_dir_lib.write_labels(self.folder, ABC)
    found = self.compare(train=_split())
    self.assertEqual(found.problems, [])
    self.assertRegex(found.notes[0], 'kept no data.json.*names of its labels')
    self.assertLen(found.notes, 1)
    (problem,) = self.compare(train=_split(BCZ)).problems
    self.assertIn("class 0 was 'a' and is now 'b'", problem)
    (problem,) = self.compare(train=_split(num_examples=9)).problems
    self.assertIn('`num_examples` was 8 and is now 9', problem)

  def test_splits_of_a_new_run(self):
    findings = stored_data.Findings()
    now = {'train_data': _split(), 'eval_data': _split(BCZ, known_from='tfds')}
    stored_data.compare_splits(findings, _experiment(), now)
    (problem,) = findings.problems
    self.assertRegex(problem, "class 0 is 'a' in the former and 'b' in the la")
    # Those of two manifests are for `data.pairs`.
    for names, known_from in ((ABC, 'tfds'), (None, None), (BCZ, 'manifest')):
      findings = stored_data.Findings()
      now['eval_data'] = _split(names, known_from=known_from)
      stored_data.compare_splits(findings, _experiment(), now)
      self.assertEqual(findings.problems, [])

  def test_last_layer_of_other_classes(self):
    self.write()
    for path in (self.folder, os.path.join(self.folder, 'ckpt-8')):
      (problem,) = self.initialize(_split(BCZ), path=path).problems
      self.assertRegex(problem, "class 0 was 'a' and is now 'b'.*is kept")
      self.assertIn('RunConfig.init_last_layer = False', problem)
    self.assertEqual(self.initialize(_split()), stored_data.Findings())
    # The layer is new where it is wanted, or has another size.
    for now, run in (
      (_split(BCZ), {'init_last_layer': False}),
      (_split(('a', 'b'), num_classes=2), {}),
    ):
      self.assertEqual(self.initialize(now, **run), stored_data.Findings())

  def test_last_layer_of_classes_without_names(self):
    self.write(_split(None))
    found = self.initialize(_split())
    self.assertEqual(found.problems, [])
    self.assertRegex(found.notes[0], 'last layer .* is kept.*lack of names')

  def test_what_is_written_down(self):
    facts = stored_data.describe(_experiment(num_examples=5), {})
    self.assertEqual(
      facts.train,
      dataclasses.replace(
        _split(None), known_from=None, label_offset=None, num_examples=5
      ),
    )

  def test_made_up_images_can_be_described(self):
    experiment = fixture.make_experiment()
    now = stored_data.facts_now(experiment, {}, splits=['train_data'])
    self.assertEqual(now['train_data'].source, 'synthetic')
    now = stored_data.facts_now(_experiment(), {}, splits=['train_data'])
    self.assertEqual(now, {})


if __name__ == '__main__':
  absltest.main()
