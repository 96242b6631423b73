import json
import math
import os

import tensorflow as tf

from official_coatnet.analysis.runs import summary
from official_coatnet.modeling import complexity, config as config_lib, network
from tests.fixtures import damage, experiments, runs


class ModelTest(tf.test.TestCase):
  def test_is_what_the_built_network_has(self):
    config = config_lib.ModelConfig(
      'coatnet_test', image_size=(64, 96), num_classes=7, layout='C-C-C-T'
    )
    result = summary.summarize_model(config)
    model = network.classifier(config)
    self.assertEqual(
      result['params'],
      sum(math.prod(v.shape) for v in model.trainable_variables),
    )
    for stage in result['stages']:
      prefixes = (stage['stage'],)
      if stage['stage'] == 'head':
        prefixes = ('head', 'pre_logits', 'logits')
      self.assertEqual(
        stage['params'],
        sum(
          math.prod(v.shape)
          for v in model.trainable_variables
          if v.name.startswith(prefixes)
        ),
      )
    *counts, total = complexity.count_stages(model)
    self.assertEqual(
      [s['multiply_adds'] for s in result['stages']],
      [c.multiply_adds for c in counts],
    )
    self.assertEqual(result['multiply_adds'], total.multiply_adds)
    self.assertEqual(
      result['multiply_adds'], sum(s['multiply_adds'] for s in result['stages'])
    )
    # The stem by hand: 3 x 3 x 3 -> 16 and 3 x 3 x 16 -> 16, on 32 x 48.
    self.assertEqual(
      result['stages'][0]['multiply_adds'], 32 * 48 * 9 * 16 * (3 + 16)
    )
    # The head by hand: 32 -> 32 -> 7.
    self.assertEqual(result['stages'][-1]['multiply_adds'], 32 * (32 + 7))
    self.assertEqual(
      [(s['stage'], s['block'], s['output_size']) for s in result['stages']],
      [
        ('s0', 'convolution', [32, 48]),
        ('s1', 'MBConv', [16, 24]),
        ('s2', 'MBConv', [8, 12]),
        ('s3', 'MBConv', [4, 6]),
        ('s4', 'transformer', [2, 3]),
        ('head', 'head', []),
      ],
    )
    self.assertEqual(
      [s['blocks'] for s in result['stages']], [2, 1, 1, 1, 1, 1]
    )
    self.assertEqual(
      [s['width'] for s in result['stages']], [16, 16, 16, 32, 32, 7]
    )
    self.assertEqual(json.loads(json.dumps(result)), result)

  def test_vit_rel(self):
    config = config_lib.ModelConfig('figure1_vit_rel', image_size=64)
    result = summary.summarize_model(config)
    self.assertEqual(
      [
        (s['stage'], s['block'], s['blocks'], s['width'], s['output_size'])
        for s in result['stages']
      ],
      [
        ('s0', 'patches', 1, 512, [4, 4]),
        ('s1', 'transformer', 13, 512, [4, 4]),
        ('head', 'head', 1, 1000, []),
      ],
    )
    self.assertRegex(summary.format_model(result), r'S0 +patches +1 +512 +4x4')

  def test_table_3(self):
    """25 M parameters and 4.2 B (4.14 counted) for CoAtNet-0 at 224."""
    result = summary.summarize_model(config_lib.ModelConfig('coatnet_0'))
    self.assertAlmostEqual(result['params'] / 1e6, 25.04, places=2)
    self.assertAlmostEqual(result['multiply_adds'] / 1e9, 4.14, places=2)
    text = summary.format_model(result)
    self.assertIn('25.04 M parameters, 4.14 G multiply-adds', text)
    rows = [line.split() for line in text.splitlines()]
    self.assertIn(
      f'S3 transformer 5 384 14x14 8,768,604 {1852698624:,} 44.7 %'.split(),
      rows,
    )
    self.assertIn(
      f'total {result["params"]:,} {result["multiply_adds"]:,} 100.0 %'.split(),
      rows,
    )


class RunTest(tf.test.TestCase):
  def _run(self, *metrics):
    model_dir = runs.write_run(
      os.path.join(self.create_tempdir().full_path, 'run'),
      experiments.make_experiment(),
    )
    with open(os.path.join(model_dir, 'metrics.jsonl'), 'w') as f:
      f.write(''.join(json.dumps(line) + '\n' for line in metrics))
    return model_dir

  def test_a_run(self):
    def train(step, speed, hours):
      return {
        'step': step,
        'epoch': step / 10,
        'train/loss': 1.0,
        'train/images_per_second_per_core': speed,
        'train/core_hours': hours,
      }

    def evaluation(step, top1, loss):
      values = {'eval/loss': loss, 'eval/top1': top1, 'eval/examples': 8.0}
      return {'step': step, 'epoch': step / 10, **values}

    model_dir = self._run(
      train(10, None, 0.1),
      evaluation(10, 0.5, 1.5),
      train(20, 30.0, 0.2),
      evaluation(20, 0.75, 1.25),
      train(30, 50.0, 0.3),
      train(40, 100.0, 0.4),
      evaluation(40, 0.625, 1.0),
      # On other data: not the run's own.
      {**evaluation(40, 0.875, 0.5), 'eval/otherwise': 1.0},
    )
    result = summary.summarize_run(model_dir)
    self.assertEqual((result['step'], result['epoch']), (40, 4.0))
    self.assertEqual(result['best_by'], 'eval/top1')
    self.assertEqual(result['best_evaluation'], evaluation(20, 0.75, 1.25))
    self.assertEqual(result['last_evaluation'], evaluation(40, 0.625, 1.0))
    self.assertEqual(result['images_per_second_per_core'], 50.0)
    self.assertEqual(result['core_hours'], 0.4)
    self.assertEqual(result['checkpoint'], os.path.join(model_dir, 'ckpt-4'))
    text = summary.format_run(result)
    self.assertIn('40 steps, 4.00 epochs', text)
    self.assertRegex(
      text,
      r'best evaluation +loss 1.2500, top1 0.7500 on 8 images, at step 20',
    )
    self.assertRegex(text, r'speed +50.0 images/s/core')
    self.assertRegex(text, r'core-hours +0.4')

  def test_the_newest_whole_checkpoint(self):
    model_dir = self._run({'step': 4, 'epoch': 0.1, 'train/loss': 1.0})
    damage.OF_STATE['lost'](model_dir)
    with self.assertLogs(level='WARNING') as logs:
      result = summary.summarize_run(model_dir)
    self.assertIn('names the latest', '\n'.join(logs.output))
    self.assertEqual(result['checkpoint'], os.path.join(model_dir, 'ckpt-4'))
    damage.OF_CHECKPOINT['index cut'](model_dir, 4)
    with self.assertLogs(level='WARNING') as logs:
      self.assertIsNone(summary.summarize_run(model_dir)['checkpoint'])
    self.assertRegex('\n'.join(logs.output), 'ckpt-4.*is damaged')

  def test_without_accuracy_the_lowest_loss_is_best(self):
    result = summary.summarize_run(
      self._run(
        {'step': 1, 'epoch': 0.1, 'eval/loss': 2.0},
        {'step': 2, 'epoch': 0.2, 'eval/loss': 1.0},
        {'step': 3, 'epoch': 0.3, 'eval/loss': None},
        {'step': 4, 'epoch': 0.4, 'eval/loss': 1.5},
      )
    )
    self.assertEqual(result['best_evaluation']['step'], 2)
    self.assertEqual(result['last_evaluation']['step'], 4)

  def test_a_run_without_evaluation(self):
    result = summary.summarize_run(
      self._run({'step': 1, 'epoch': 0.1, 'train/loss': 1.0})
    )
    self.assertIsNone(result['best_evaluation'])
    text = summary.format_run(result)
    self.assertRegex(text, 'best evaluation +none yet')
    self.assertRegex(text, 'speed +not known')

  def test_gain_over_another_run(self):
    def evaluation(step, **values):
      values = {f'eval/{key}': value for key, value in values.items()}
      return {'step': step, 'epoch': 1.0, 'eval/loss': 1.0, **values}

    tuned = self._run(
      evaluation(10, top1=0.75, examples=8.0),
      evaluation(20, top1=0.625, examples=8.0),
    )
    scratch = self._run(evaluation(20, top1=0.5, examples=8.0))
    result = summary.compare_runs(tuned, scratch)
    # The last evaluation, not the best.
    self.assertEqual((result['value'], result['baseline']), (0.625, 0.5))
    self.assertEqual((result['metric'], result['gain']), ('top1', 0.125))
    self.assertEqual((result['step'], result['examples']), (20, 8.0))
    text = summary.format_comparison(result)
    self.assertIn('top1 62.5 %, +12.5 points over the 50.0 % of', text)
    self.assertIn('after 20 steps', text)
    for other, message in (
      (evaluation(30, top1=0.5, examples=8.0), 'has step 20, .* 30; compare'),
      (evaluation(20, top1=0.5, examples=9.0), 'eval/examples 8.0, .* 9.0'),
      (evaluation(20, precision_at_1=0.5, examples=8.0), 'no accuracy in'),
      ({'step': 20, 'train/loss': 1.0}, 'no accuracy in common'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        summary.compare_runs(tuned, self._run(other))

  def test_says_what_is_missing(self):
    with self.assertRaisesRegex(ValueError, 'metrics.jsonl is missing or'):
      summary.summarize_run(self._run())
    folder = self.create_tempdir().full_path
    with self.assertRaisesRegex(FileNotFoundError, 'is not the model_dir'):
      summary.summarize_run(folder)


if __name__ == '__main__':
  tf.test.main()
