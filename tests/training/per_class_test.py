"""Tests of training.per_class: counts by class, on one and two replicas."""

import dataclasses
import functools
import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import device, lookup, pipeline
from official_coatnet.modeling import network
from official_coatnet.training import per_class
from tests.fixtures import devices, experiments as fixture, graphs

_NUM_EXAMPLES = 23  # Neither a multiple of the batch nor of the replicas.
_CLASSES = 7


def setUpModule():
  devices.use_two_cpus()
  unittest.enterModuleContext(graphs.unoptimized())


def _experiment(*, several=False):
  labels = {'schema': 'multilabel', 'max_labels': 3} if several else {}
  classes = {'num_classes': _CLASSES}
  return fixture.make_experiment(
    model=classes,
    train_data=classes,
    eval_data={
      'num_examples': _NUM_EXAMPLES, 'batch_size': 6, **classes, **labels
    },
    loss={'name': 'sigmoid' if several else 'softmax'},
  )  # fmt: skip


def _label_more(batch, *, several):
  """Gives every other image of synthetic ones a second label."""
  if several:
    first, *others = tf.unstack(batch['label'], axis=1)
    more = tf.where((first >= 0) & (first % 2 == 0), (first + 3) % _CLASSES, -1)
    batch = {**batch, 'label': tf.stack([first, more, *others[1:]], axis=1)}
  return batch


def _make(experiment, strategy, *, expected_steps, tally):
  tf.keras.utils.set_random_seed(5)
  with strategy.scope():
    model = network.classifier(experiment.model, draw_keys=True)
    # Far from uniform, so that all classes are said of some image.
    model.get_layer('logits').kernel.assign(
      3 * tf.random.stateless_normal([32, _CLASSES], seed=(1, 2))
    )
    dataset = strategy.distribute_datasets_from_function(
      lambda context: pipeline.make_dataset(
        experiment.eval_data, seed=0, is_training=False, input_context=context
      ).map(functools.partial(_label_more, several=tally.several_labels))
    )
    made = per_class.PerClassEvaluator(
      experiment,
      model,
      tally=tally,
      strategy=strategy,
      dataset=dataset,
      expected_steps=expected_steps,
    )
  return made, model


def _one_by_one(experiment, model, *, several):
  """Returns images, sets of labels and logits, an image at a time."""
  data = dataclasses.replace(experiment.eval_data, batch_size=1)
  examples = pipeline.make_dataset(data, seed=0, is_training=False)
  images, labels, logits = [], [], []
  for batch in examples.take(_NUM_EXAMPLES):
    batch = _label_more(batch, several=several)
    inputs = {
      'image': device.normalize(batch['image']),
      'draw_keys': tf.zeros([1], tf.int32),
    }
    images.append(batch['image'][0].numpy())
    labels.append({int(x) for x in batch['label'][0] if x >= 0})
    logits.append(model(inputs).numpy()[0])
  return images, labels, np.array(logits)


@functools.cache
def _evaluate(replicas, expected_steps, *, several=False):
  """Returns a tally with metrics, and the same set one image at a time."""
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  if replicas == 2:
    strategy = devices.two_replicas()
  experiment = _experiment(several=several)
  tally = per_class.Tally(experiment)
  made, model = _make(
    experiment, strategy, expected_steps=expected_steps, tally=tally
  )
  for _ in range(2):  # A second evaluation starts afresh.
    results = made.evaluate(tf.constant(-1))
  return tally, results, *_one_by_one(experiment, model, several=several)


class PerClassEvaluatorTest(tf.test.TestCase, parameterized.TestCase):
  def _evaluate(self, *args, **kwargs):
    found = _evaluate(*args, **kwargs)
    self.tally, self.results, self.images, self.labels, self.logits = found
    self.best = np.argsort(-self.logits, axis=1, kind='stable')[:, :5]

  def _count(self, condition):
    """Counts the images that fulfil a condition, for each class."""
    return [
      sum(condition(i, c) for i in range(_NUM_EXAMPLES))
      for c in range(_CLASSES)
    ]

  def _compare_counts(self):
    labels, best = self.labels, self.best
    labelled = [bool(each) for each in labels]
    for name, condition in {
      'images': lambda i, c: c in labels[i],
      'right': lambda i, c: c in labels[i] and best[i, 0] == c,
      'right_in_top_k': lambda i, c: c in labels[i] and c in best[i],
      'predicted': lambda i, c: labelled[i] and best[i, 0] == c,
    }.items():
      found = getattr(self.tally, name)
      self.assertEqual(found.tolist(), self._count(condition), name)

  @parameterized.parameters((1, None), (2, 4))
  def test_one_label(self, replicas, expected_steps):
    self._evaluate(replicas, expected_steps)
    self._compare_counts()
    self.assertEqual(self.tally.images.sum(), _NUM_EXAMPLES)
    self.assertAllClose(
      self.tally.right.sum() / _NUM_EXAMPLES, self.results['top1']
    )
    # The matrix, by scikit-learn's definition.
    matrix = np.zeros([_CLASSES, _CLASSES], int)
    for (label,), best in zip(self.labels, self.best):
      matrix[label, best[0]] += 1
    mistakes = self.tally.mistakes
    pairs = mistakes.pairs()
    self.assertNotEmpty(pairs)
    found = np.diag(self.tally.right)
    for label, prediction, places in pairs:
      found[label, prediction] += len(places)
    np.testing.assert_array_equal(found, matrix)
    counts = [len(places) for _, _, places in pairs]
    self.assertEqual(counts, sorted(counts, reverse=True))

  @parameterized.parameters((1, None), (2, 4))
  def test_mistakes_are_found_again_by_their_numbers(self, *args):
    self._evaluate(*args)
    mistakes = self.tally.mistakes
    wrong = [
      i for i in range(_NUM_EXAMPLES) if self.best[i, 0] not in self.labels[i]
    ]
    self.assertEqual(mistakes.index.tolist(), wrong)
    np.testing.assert_array_equal(mistakes.classes, self.best[wrong])
    self.assertEqual([{label} for label in mistakes.label],
                     [self.labels[i] for i in wrong])  # fmt: skip
    probabilities = np.exp(self.logits[wrong].astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = np.take_along_axis(probabilities, self.best[wrong], axis=1)
    np.testing.assert_allclose(mistakes.scores, expected, rtol=1e-4)
    data = self.tally.experiment.eval_data
    images = lookup.evaluation_images(data, wrong)
    self.assertEqual(list(images), wrong)
    for i in wrong:
      np.testing.assert_array_equal(images[i], self.images[i])
    for _, _, places in mistakes.pairs():
      scores = mistakes.scores[places, 0].tolist()
      self.assertEqual(scores, sorted(scores, reverse=True))

  def test_several_labels(self):
    self._evaluate(2, 4, several=True)
    self.assertGreater(max(map(len, self.labels)), 1)
    self._compare_counts()
    over = self.logits >= 0  # A sigmoid of one half or more.
    labelled = [bool(each) for each in self.labels]
    self.assertEqual(
      self.tally.over.tolist(),
      self._count(lambda i, c: labelled[i] and over[i, c]),
    )
    self.assertEqual(
      self.tally.over_right.tolist(),
      self._count(lambda i, c: c in self.labels[i] and over[i, c]),
    )
    self.assertGreater(self.tally.over_right.sum(), 0)
    self.assertEmpty(self.tally.mistakes.pairs())


class TallyTest(tf.test.TestCase):
  def _part(self, **changes):
    part = {
      'label': np.array([[2], [0], [-1], [1]], np.int32),
      'weight': np.array([1, 0, 1, 1], np.float32),
      'classes': np.array([[1, 2], [1, 0], [1, 0], [1, 0]], np.int32),
      'scores': np.full([4, 2], 0.5, np.float32),
    }
    return {**part, **changes}

  def test_what_does_not_count_keeps_its_place(self):
    """Images left out, and those without a label."""
    tally = per_class.Tally(fixture.make_experiment())
    tally.add(self._part())
    tally.add(self._part(label=np.array([[2], [0], [-1], [3]], np.int32)))
    self.assertEqual(tally.images.tolist(), [0, 1, 2, 1, 0])
    self.assertEqual(tally.right.tolist(), [0, 1, 0, 0, 0])
    self.assertEqual(tally.predicted.tolist(), [0, 4, 0, 0, 0])
    self.assertEqual(tally.mistakes.index.tolist(), [0, 4, 7])
    pairs = [(a, b, p.tolist()) for a, b, p in tally.mistakes.pairs()]
    self.assertEqual(pairs, [(2, 1, [0, 1]), (3, 1, [2])])

  def test_no_mistakes(self):
    tally = per_class.Tally(fixture.make_experiment())
    self.assertEmpty(tally.mistakes.pairs())
    tally.add(self._part(classes=self._part()['label'][:, [0, 0]]))
    self.assertEmpty(tally.mistakes.pairs())
    self.assertEqual(tally.right.sum(), 2)

  def test_18291_classes(self):
    """Nothing grows with their square."""
    sizes = {'num_classes': 18291}
    labels = {'schema': 'multilabel', 'max_labels': 16}
    tally = per_class.Tally(
      fixture.make_experiment(
        model=sizes,
        train_data=sizes,
        eval_data={**sizes, **labels},
        loss={'name': 'sigmoid'},
      )
    )
    rng = np.random.default_rng(0)
    ids = np.stack([rng.permutation(18291)[:16] for _ in range(8)])
    ids = np.where(np.arange(16) < rng.integers(1, 17, [8, 1]), ids, -1)
    logits = rng.normal(size=[8, 18291]).astype(np.float32)
    batch = {'label': ids.astype(np.int32), 'weight': np.ones(8, np.float32)}
    part = per_class.observe(
      {k: tf.constant(v) for k, v in batch.items()},
      tf.constant(logits),
      tally=tally,
    )
    tally.add({name: value.numpy() for name, value in part.items()})
    self.assertEqual(tally.images.sum(), (ids >= 0).sum())
    np.testing.assert_array_equal(tally.over, (logits >= 0).sum(axis=0))
    self.assertEqual(
      tally.over_right.sum(),
      sum(logits[i, c] >= 0 for i in range(8) for c in ids[i] if c >= 0),
    )
    np.testing.assert_array_equal(
      np.flatnonzero(tally.predicted), np.unique(logits.argmax(axis=1))
    )

  def test_where_it_cannot_be(self):
    per_class.check(mode='eval')
    with self.assertRaisesRegex(ValueError, "'train_and_eval'.*mode 'eval'"):
      per_class.check(mode='train_and_eval')
    with self.assertRaisesRegex(ValueError, 'on 4 hosts.*Evaluate on one'):
      per_class.check(mode='eval', num_hosts=4)


if __name__ == '__main__':
  tf.test.main()
