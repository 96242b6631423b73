import os

import tensorflow as tf

from official_coatnet.export import options, provenance


class ProvenanceTest(tf.test.TestCase):
  def test_there_and_back(self):
    folder = self.create_tempdir().full_path
    source = provenance.Provenance(
      model_dir='/runs/x',
      checkpoint='ckpt-7',
      weights='ema',
      folded=True,
      options=options.ExportOptions(top_k=2),
    )
    provenance.write(source, folder)
    self.assertEqual(provenance.read(folder), source)

  def test_no_export_of_ours(self):
    folder = self.create_tempdir().full_path
    for content in (
      None,
      'x',
      '[]',
      '{"options": {}}',
      '{"options": {"a": 1}}',
    ):
      if content is not None:
        with open(os.path.join(folder, provenance.FILE), 'w') as f:
          f.write(content)
      with self.assertRaisesRegex(ValueError, 'is no export of this version'):
        provenance.read(folder)


if __name__ == '__main__':
  tf.test.main()
