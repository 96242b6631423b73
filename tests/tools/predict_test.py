"""The tool; what it does has its tests in tests/export/prediction_test.py."""

import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest
from PIL import Image

from official_coatnet.export import saved_model
from tests.fixtures import experiments, runs
from tools import predict

LABELS = ['kettle', 'Bär', 'crane', 'crane', 'hen, biddy', 'x', 'y']


class PredictTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.mkdtemp(dir=absltest.get_default_test_tmpdir())
    sizes = {'num_classes': len(LABELS)}
    run_dir = runs.write_run(
      os.path.join(folder, 'run'),
      experiments.make_experiment(
        model=sizes, train_data=sizes, eval_data=sizes
      ),
      labels=LABELS,
    )
    cls.exports = os.path.join(folder, 'exports')
    path = saved_model.export(run_dir, cls.exports)
    signature = tf.saved_model.load(path).signatures['serving_default']
    cls.encoded = runs.encoded_images()
    cls.probabilities = {
      name: signature(image_bytes=tf.constant([image]))['probabilities'][0]
      for name, image in cls.encoded.items()
    }

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _write(self, name, content):
    path = os.path.join(self.folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
      f.write(content)
    return path

  def _check(self, name, result, *, top_k):
    """Compares names and scores with the probabilities of the image."""
    probabilities = self.probabilities[name].numpy()
    order = np.argsort(-probabilities)[:top_k]
    self.assertEqual(
      [p['class'] for p in result['predictions']], [LABELS[i] for i in order]
    )
    np.testing.assert_allclose(
      [p['score'] for p in result['predictions']],
      probabilities[order],
      rtol=1e-5,
    )

  def test_the_tool_in_a_new_process(self):
    """All images, two that are none, and one that is not there."""
    files = {n: self._write(n, image) for n, image in self.encoded.items()}
    jpeg = self.encoded['rgb.jpg']
    files['cut.jpg'] = self._write('cut.jpg', jpeg[: len(jpeg) // 2])
    files['notes.txt'] = self._write('notes.txt', b'no image')
    huge = bytearray(self.encoded['rgb.png'])
    huge[16:24] = struct.pack('>II', 10**5, 10**5)
    files['huge.png'] = self._write('huge.png', huge)
    self._write('.hidden', b'')
    missing = os.path.join(self.folder, 'missing.jpg')
    picture = os.path.join(self.create_tempdir().full_path, 'sheet.png')
    process = subprocess.run(
      [
        sys.executable,
        predict.__file__,
        f'--saved_model={self.exports}',
        '--batch_size=4',
        f'--picture={picture}',
        self.folder,
        missing,
      ],
      capture_output=True,
      text=True,
      encoding='utf-8',
      check=False,
    )
    self.assertEqual(process.returncode, 1, process.stderr)
    self.assertNotIn('Traceback', process.stderr)
    results = [json.loads(line) for line in process.stdout.splitlines()]
    self.assertEqual(
      [r['file'] for r in results], [*sorted(files.values()), missing]
    )
    by_file = {r['file']: r for r in results}
    for name in self.encoded:
      self._check(name, by_file[files[name]], top_k=5)
    self.assertEqual(
      by_file[files['notes.txt']]['error'],
      'Unknown image file format. One of JPEG, PNG, GIF, BMP required.',
    )
    error = by_file[files['cut.jpg']]['error']
    self.assertStartsWith(error, 'jpeg::Uncompress failed')
    error = by_file[files['huge.png']]['error']
    self.assertStartsWith(error, 'Image 0 of the batch')
    self.assertIn('10000000000 pixels, more than the limit of 50000000', error)
    self.assertIn('No such file', by_file[missing]['error'])
    with Image.open(picture) as image:
      self.assertGreater(min(image.size), 200)

  def test_a_line_of_json(self):
    result = {'file': 'x', 'predictions': [('Bär', np.float32(0.1))]}
    self.assertEqual(
      predict.to_json(result),
      '{"file": "x", "predictions": [{"class": "Bär", "score": 0.1}]}',
    )


if __name__ == '__main__':
  absltest.main()
