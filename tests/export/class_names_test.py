import dataclasses
import os

from absl.testing import absltest

from official_coatnet.data import facts as facts_lib
from official_coatnet.export import class_names
from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import experiments


class ClassNamesTest(absltest.TestCase):
  def test_names_that_the_run_was_not_trained_on(self):
    model_dir = self.create_tempdir().full_path
    experiment = experiments.make_experiment()
    model_dir_lib.write_labels(model_dir, ['a', 'b', 'c', 'd', 'e'])
    names = ('a', 'b', 'c', 'd', 'e')
    split = facts_lib.SplitFacts(
      source='tfrecord',
      split='train',
      num_classes=5,
      class_names=names,
      class_digest=facts_lib.digest(names),
    )
    facts = facts_lib.DataFacts(split, split)
    model_dir_lib.write_data(model_dir, facts)

    def read(file=None):
      return class_names.read(experiment, model_dir, labels=file)

    self.assertEqual(read(), ([*names], 'those that the run was trained on'))
    path = model_dir_lib.write_labels(model_dir, ['A', 'b', 'c', 'd', 'e'])
    with self.assertRaisesRegex(
      ValueError, f"class 0 was 'a' in training and is 'A'.*--labels={path}"
    ):
      read()
    # A user may call the classes otherwise, but in their order.
    self.assertEqual(read(path)[1], 'given when it was exported (`--labels`)')
    model_dir_lib.write_labels(model_dir, ['b', 'a', 'c', 'd', 'e'])
    with self.assertRaisesRegex(ValueError, 'in another order.*of the run'):
      read(path)
    # Of more than 2,000 names a checksum is kept.
    short = facts_lib.DataFacts(
      dataclasses.replace(split, class_names=None), split
    )
    model_dir_lib.write_data(model_dir, short)
    with self.assertRaisesRegex(ValueError, 'it is another list of names'):
      read()
    os.rename(path, f'{path}.gone')
    with self.assertRaisesRegex(ValueError, 'has no labels.txt any more'):
      read()
    os.rename(f'{path}.gone', path)
    model_dir_lib.write_data(model_dir, facts)
    # What the run keeps is enough; without any record labels.txt is.
    os.remove(path)
    self.assertEqual(read()[0], [*names])
    os.remove(os.path.join(model_dir, 'data.json'))
    model_dir_lib.write_labels(model_dir, names)
    self.assertRegex(read()[1], '`labels.txt` of the run, which kept no')


if __name__ == '__main__':
  absltest.main()
