import os

from absl.testing import absltest

from official_coatnet.pretrained import publishing_card
from official_coatnet.training import checkpoints, model_dir as model_dir_lib
from tests.fixtures import experiments, runs


class PublishingCardTest(absltest.TestCase):
  def make(
    self,
    *,
    metrics=(),
    weights=None,
    licence=None,
    step=4,
    origin=None,
    **kwargs,
  ):
    experiment = experiments.make_experiment(**kwargs)
    model_dir = os.path.join(self.create_tempdir().full_path, 'run')
    runs.write_run(model_dir, experiment, step=step)
    if origin is not None:
      model_dir_lib.write_origin(model_dir, origin)
    file = model_dir_lib.MetricsFile(model_dir)
    for step, values in metrics:
      file.write(step, values)
    return publishing_card.make_card(
      experiment,
      model_dir=model_dir,
      stored=checkpoints.StoredWeights(model_dir, weights=weights),
      licence=licence,
    )

  def test_head_is_what_the_hub_reads(self):
    before, head, _ = self.make(licence='cc-by-4.0').split('---\n', 2)
    self.assertEqual(before, '')
    self.assertEqual(
      head.splitlines(),
      [
        'license: "cc-by-4.0"',
        'library_name: timm',
        'pipeline_tag: image-classification',
        'tags:',
        '- image-classification',
        '- timm',
        '- coatnet',
      ],
    )

  def test_says_where_the_weights_come_from(self):
    card = self.make(
      metrics=[
        (2, {'eval/loss': 2.0, 'eval/top1': 0.25}),
        (4, {'eval/loss': 1.0, 'eval/top1': 0.75}),
      ],
      weights='raw',
      optimizer={'ema_decay': 0.9},
      loss={'name': 'sigmoid'},
      run={'init_checkpoint': 'runs/jft'},
    )
    self.assertIn('| top1 | 0.75 |', card)
    self.assertIn('evaluated the weights `ema`; these here are `raw`', card)
    self.assertIn('Started from | `runs/jft`', card)
    self.assertIn('.sigmoid()', card)
    self.assertIn('that of timm has', card)

  def test_of_a_run_that_says_little(self):
    data = {'interpolation': 'bicubic'}
    card = self.make(train_data=data, eval_data=data)
    self.assertIn('license: "unknown"\n', card)
    self.assertIn('nobody has named a licence', card)
    self.assertIn('The run did not evaluate itself.', card)
    self.assertIn('random weights', card)
    self.assertIn('.softmax(dim=-1)', card)
    self.assertNotIn('antialiasing', card)

  def test_weights_of_others(self):
    origin = model_dir_lib.Origin(
      source='timm/coatnet_0_rw_224.sw_in1k',
      file='model.safetensors',
      sha256='0',
      url='https://hub/model.safetensors',
      licence='apache-2.0',
    )
    card = self.make(step=0, origin=origin)
    self.assertIn('license: "apache-2.0"\n', card)
    self.assertIn('as published: timm/coatnet_0_rw_224.sw_in1k |', card)
    self.assertIn('https://hub/model.safetensors', card)
    self.assertNotIn('Trained on', card)

    self.assertIn('license: "mit"', self.make(step=0, licence='mit'))
    # Trained since, they are other weights.
    trained = self.make(step=4, origin=origin)
    self.assertIn('license: "unknown"\n', trained)

    folder = self.create_tempdir().full_path
    model_dir_lib.write_origin(folder, origin)
    started = self.make(run={'init_checkpoint': folder})
    self.assertIn(f'{origin.source} (`{folder}`)', started)

  def test_evaluation_of_another_step(self):
    card = self.make(metrics=[(2, {'eval/loss': 2.0})])
    self.assertIn('at step 2. The weights here are of step 4.', card)


if __name__ == '__main__':
  absltest.main()
