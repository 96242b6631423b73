"""The tool; what it does has its tests in tests/export/prediction_test.py."""

import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
from absl.testing import absltest
from PIL import Image

from tests.fixtures import predictions
from tools import predict


class PredictTest(predictions.PredictionsTestCase):
  def test_the_tool_in_a_new_process(self):
    """All images, two that are none, and one that is not there."""
    files = {n: self.write(n, image) for n, image in self.encoded.items()}
    jpeg = self.encoded['rgb.jpg']
    files['cut.jpg'] = self.write('cut.jpg', jpeg[: len(jpeg) // 2])
    files['notes.txt'] = self.write('notes.txt', b'no image')
    huge = bytearray(self.encoded['rgb.png'])
    for name, side in (('huge.png', 10**5), ('large.png', 9000)):
      huge[16:24] = struct.pack('>II', side, side)
      huge[29:33] = struct.pack('>I', zlib.crc32(huge[12:29]))
      files[name] = self.write(name, huge)
    self.write('.hidden', b'')
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
      found = by_file[files[name]]['predictions']
      pairs = [(each['class'], each['score']) for each in found]
      self.check(name, pairs, top_k=5)
    self.assertEqual(
      by_file[files['notes.txt']]['error'],
      'no image of a known format',
    )
    error = by_file[files['cut.jpg']]['error']
    self.assertStartsWith(error, 'jpeg::Uncompress failed')
    error = by_file[files['huge.png']]['error']
    self.assertStartsWith(error, 'Image size (10000000000 pixels) exceeds')
    error = by_file[files['large.png']]['error']
    self.assertStartsWith(error, 'Image 0 of the batch')
    self.assertIn('81000000 pixels, more than the limit of 50000000', error)
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
