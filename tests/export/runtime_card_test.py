import os

import cv2
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from PIL import Image

from official_coatnet.data import resizing
from official_coatnet.export import runtime_card, versions
from official_coatnet.export.options import ExportOptions
from tests.fixtures import experiments


class RuntimeCardTest(parameterized.TestCase):
  @parameterized.parameters(
    ('tflite', 'int8', 'softmax', 'bilinear'),
    ('tflite', 'none', 'sigmoid', 'bicubic'),
    ('onnx', 'none', 'softmax', 'bilinear'),
    ('onnx', 'none', 'sigmoid', 'bicubic'),
  )
  def test_sections(self, file_format, quantize, loss, interpolation):
    data = {'interpolation': interpolation}
    experiment = experiments.make_experiment(
      train_data=data, eval_data=data, loss={'name': loss}
    )
    runtime = versions.Provenance(
      model_dir='/x',
      checkpoint='ckpt-20',
      weights='raw',
      folded=True,
      options=ExportOptions(),
      format=file_format,
      quantize=quantize,
      difference={'images': 16, 'largest': 0.0625, 'same_top1': 15},
    )
    told, calls = runtime_card.sections(experiment, runtime)
    takes = {
      'tflite': 'float32 [1, 32, 32, 3]',
      'onnx': 'uint8 [batch, 32, 32, 3]',
    }
    for text in (
      takes[file_format],
      f'their {loss}',
      '0.062 at most',
      'for 15',
    ):
      self.assertIn(text, told)
    self.assertEqual('in 8 bits' in told, quantize == 'int8')
    self.assertEqual('antialiasing' in told, interpolation == 'bilinear')
    self.assertIn(f"'model.{file_format}'", calls)
    lines = [line[4:] for line in calls.split('\n') if line.startswith('    ')]
    compile('\n'.join(lines), 'card', 'exec')
    self._check_resizing(lines, interpolation)

  def _check_resizing(self, lines, interpolation):
    """The lines of the card that open and resize do it as the evaluation."""
    pixels = np.random.default_rng(0).integers(0, 256, [90, 70, 3], np.uint8)
    path = os.path.join(self.create_tempdir().full_path, 'photo.png')
    Image.fromarray(pixels).save(path)
    source = '\n'.join(line for line in lines if line.startswith('image = '))
    scope = {'cv2': cv2, 'Image': Image, 'np': np, 'height': 40, 'width': 30}
    exec(source.replace('photo.jpg', path), scope)
    expected = resizing.METHODS[interpolation].resize(
      tf.constant(pixels), (40, 30)
    )
    self.assertEqual(scope['image'].dtype, np.uint8)
    # Each rounds fixed-point numbers in its own way.
    difference = np.abs(scope['image'] - expected.numpy().astype(int))
    self.assertLessEqual(difference.max(), 1)


if __name__ == '__main__':
  absltest.main()
