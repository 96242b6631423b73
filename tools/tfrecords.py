"""Writes images as TFRecord files that training reads, and looks after them.

    python tools/tfrecords.py demo --output_dir=D
        Handwritten digits that come with scikit-learn: 1,347 images to train,
        450 to evaluate, and some of the latter as .jpg files in D/images.

    python tools/tfrecords.py demo_transfer --output_dir=D
        The same digits for docs/transfer.md: scenes of several of them as
        images with lists, to be built by `manifest`, and records of few.

    python tools/tfrecords.py folder --input_dir=I --output_dir=D
        Images in I, a folder for each class. --validation_fraction=0.1 holds
        out a tenth of them. Or folders train and val (or test) in I, with a
        folder for each class in both. --recursive takes deeper folders.

    python tools/tfrecords.py imagenet1k --input_dir=I --output_dir=D
        I holds ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and
        ILSVRC2012_devkit_t12.tar.gz. Instead of the last, --validation_labels
        names a text file with the synset of each validation image.

    python tools/tfrecords.py imagenet21k --input_dir=I --output_dir=D
        I holds fall11_whole.tar, or is its path. A hundredth of the images is
        held out.

    python tools/tfrecords.py manifest --list=L --input_dir=I --output_dir=D
        L lists images in I with several labels each: JSON lines such as
        {"image": "a.jpg", "labels": [3, 7], "label_probs": [0.9, 0.2]}, or CSV.
        --validation_list=V names those to evaluate on. --class_names=C names
        the classes: then labels are whole names, such as "red wine;cheese"
        (--label_separator for another one than ";", --numeric_labels=ids where
        they are class numbers all the same). --single_label makes records of
        one label an image.

    python tools/tfrecords.py tfds --tfds_name=N --output_dir=D
        A data set of TFDS that is prepared (in --input_dir, if not in TFDS's
        own folder). Images keep their bytes.

    python tools/tfrecords.py validate D
        Looks at every record in D, or of one file; exit code 1 if anything is
        wrong, with file and offset.

    python tools/tfrecords.py repair D E
        Copies the intact records of D (a folder, or one file) to folder E, and
        says what was lost.

    python tools/tfrecords.py index D
        Writes manifests for files in D that somebody else has built, and
        adds to those of version 0.1 by what images are known again.

The last three read shards that are compressed by gzip or zlib, too; repair
writes them uncompressed. --schema and --feature_keys say what is in files
without a manifest.

Images that are not RGB or grey JPEGs are encoded as such, once, and a folder's
are turned as their EXIF data say (--exif_orientation); docs/formats.md lists
formats. Those that cannot be read are left out and listed; above --max_failures
the run fails. A manifest beside the files says what is in them. What is there
and complete is not written again; a run that was stopped is started again the
same way, and goes on after the last file that it finished. Records of another
build in D are named and refused; --overwrite replaces them.
"""

import tools.prologue

import difflib
import functools
import sys
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from absl import app, flags

from official_coatnet.data import manifest, schema, split_files
from official_coatnet.records import (
  beam,
  corpus,
  demo,
  processes,
  repair,
  shared_images,
  validation,
)
from tools import path_flags, record_sources
from tools.progress import Progress

_OUTPUT_DIR = path_flags.DEFINE_path(
  'output_dir', None, 'Folder to write records and manifests to.'
)
_NUM_SHARDS = flags.DEFINE_integer(
  'num_shards',
  None,
  'Files of the train split; if not set, 8 for demo, 1024 for imagenet1k, 8192 '
  'for imagenet21k, else 16. A training host reads files of its own: have at '
  'least as many, better several times as many, as hosts.',
  lower_bound=1,
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes',
  None,
  'Processes that work at once; if not set, one for each core, as far as the '
  'number of images is worth it. The files are the same for any number.',
  lower_bound=1,
)
_MAX_FAILURES = flags.DEFINE_string(
  'max_failures',
  None,
  'Images of a split that may be left out: a number (10) or a share (0.001). '
  'If not set, a thousandth, or 10 where that is more.',
)
_OVERWRITE = flags.DEFINE_bool(
  'overwrite',
  False,
  'Replace what another build has left in --output_dir: records and manifests '
  'of all its splits. What the same command has left is gone on with in either '
  'case.',
)
_SCHEMA = flags.DEFINE_enum(
  'schema',
  'imagenet',
  ['imagenet', 'multilabel', 'automl'],
  'validate, repair, index: schema of files that have no manifest.',
)
_FEATURE_KEYS = flags.DEFINE_list(
  'feature_keys',
  None,
  "validate, repair, index: keys to read in the place of the schema's, as in "
  'encoded:image,labels:label; also confidences.',
)
_LABELS_OPTIONAL = flags.DEFINE_bool(
  'labels_optional',
  False,
  'validate, repair, index: a record of several labels may lack the key of its '
  'labels, and has none then.',
)
_DECODE = flags.DEFINE_bool('decode', True, 'validate: decode every image.')
_ALLOW_DUPLICATES = flags.DEFINE_bool(
  'allow_duplicates',
  False,
  'validate: images may be there twice, as a few of ImageNet are.',
)
_RUNNER = flags.DEFINE_string(
  'runner',
  None,
  'Apache Beam runner to build with, such as DirectRunner or DataflowRunner; '
  'if not set, the processes of this machine.',
)
_BEAM_OPTIONS = flags.DEFINE_string(
  'beam_options', '', 'Options of the Beam pipeline, separated by spaces.'
)

_MAX_FAILURES_SHOWN = 20
# What is worth more than one process: so many bytes of records to read.
_BYTES_AN_IMAGE = 100_000


def write_demo() -> dict[str, manifest.Manifest]:
  """Writes the digits of the demo."""
  shards = {}
  if _NUM_SHARDS.value is not None:
    shards['num_train_shards'] = _NUM_SHARDS.value
  return demo.write_digits(
    _OUTPUT_DIR.value,
    progress=Progress(),
    overwrite=_OVERWRITE.value,
    **shards,
  )


def write_demo_transfer() -> dict[str, manifest.Manifest]:
  """Writes scenes and digits of the demo of transfer."""
  return demo.write_transfer(
    _OUTPUT_DIR.value, progress=Progress(), overwrite=_OVERWRITE.value
  )


# Sub-commands that bring their images along.
DEMOS = {'demo': write_demo, 'demo_transfer': write_demo_transfer}


def build(command: str) -> None:
  """Builds the records of a source."""
  output_dir = record_sources.require(
    _OUTPUT_DIR, 'give the folder to write to'
  )
  if command in DEMOS:
    _print_manifests(DEMOS[command](), output_dir)
    return
  print('Looking at what there is ...', file=sys.stderr)
  splits = record_sources.find_splits(
    command, output_dir, num_shards=_NUM_SHARDS.value
  )
  manifests = corpus.write_corpus(
    splits,
    output_dir,
    num_shards=_NUM_SHARDS.value,
    max_failures=_parse_max_failures(_MAX_FAILURES.value),
    progress=Progress(),
    map_tasks=_workers(sum(split.num_examples for split in splits)),
    overwrite=_OVERWRITE.value,
    warn=print,
  )
  _print_manifests(manifests, output_dir)


def validate(path: str) -> None:
  """Looks at records; ends with exit code 1 if something is wrong."""
  num_problems = 0
  by_split = {}
  for split, options in _splits_of(path):
    problems, contents = validation.validate_split(
      split,
      allow_duplicates=_ALLOW_DUPLICATES.value,
      **options,
    )
    by_split[split.split] = contents
    num_problems += len(problems)
    for problem in problems:
      print(problem)
    intact = sum(each.entry.records for each in contents)
    for kind in sorted({c.compression for c in contents if c.compression}):
      print(
        f'{split.split}: compressed; to train on it, set DataConfig.compression'
        f" = '{kind}', or have repair write it uncompressed"
      )
    print(
      f'{split.split}: {intact:,} intact records in {len(contents)} files, '
      f'{len(problems)} problems'
    )
  # Nothing is wrong with the records themselves.
  for note in shared_images.find_in_contents(by_split, path):
    print(note)
  if num_problems:
    sys.exit(1)


def repair_files(path: str, output_dir: str) -> None:
  """Copies what is intact."""
  manifests = {}
  for split, options in _splits_of(path):
    manifests[split.split] = repair.repair_split(split, output_dir, **options)
  _print_manifests(manifests, output_dir)


def index(path: str) -> None:
  """Writes manifests."""
  manifests = {}
  for split, options in _splits_of(path):
    manifests[split.split] = repair.index_split(split, **options)
  _print_manifests(manifests, path)


# Sub-commands that take paths, and how many.
INSPECTIONS: dict[str, tuple[Callable[..., None], int]] = {
  'validate': (validate, 1),
  'repair': (repair_files, 2),
  'index': (index, 1),
}


def main(argv: list[str]) -> None:
  """Runs the sub-command that is named first."""
  command, *paths = argv[1:] or ['']
  _, num_paths = INSPECTIONS.get(command, (None, 0))
  known = sorted({*DEMOS, *record_sources.SOURCES, *INSPECTIONS})
  if command not in known:
    near = difflib.get_close_matches(command, known, n=1)
    raise app.UsageError(
      (f'there is no sub-command {command!r}. ' if command else '')
      + (f'Did you mean {near[0]}? ' if near else '')
      + f'Name one of {", ".join(known)}, as in: tfrecords.py demo '
      '--output_dir=D, or tfrecords.py validate D'
    )
  if len(paths) != num_paths:
    takes = ('no path of its own, but flags', 'one path', 'two paths')
    raise app.UsageError(
      f'{command} takes {takes[num_paths]}, and got '
      f'{" ".join(paths) or "none"}.'
    )
  if command in INSPECTIONS:
    INSPECTIONS[command][0](*path_flags.expand(paths))
  else:
    build(command)


def _splits_of(path: str):
  """Yields the splits of a folder, each with what to look at it with."""
  for split in split_files.list_splits(path):
    size = sum(tf.io.gfile.stat(each).length for each in split.paths)
    progress, done = Progress('records'), [0]

    # Only where there is one is it known how many there are.
    total = split.manifest.num_examples if split.manifest else None

    def count(number: int, progress=progress, done=done, total=total) -> None:
      done[0] += number
      progress(done[0], total)

    yield (
      split,
      {
        'rules': validation.rules_for(
          split,
          schema=_SCHEMA.value,
          num_classes=record_sources.NUM_CLASSES.value,
          decode=_DECODE.value,
          feature_keys=_parse_feature_keys(_FEATURE_KEYS.value),
          labels_optional=_LABELS_OPTIONAL.value,
        ),
        'progress': count,
        'map_tasks': _workers(size // _BYTES_AN_IMAGE),
      },
    )
    progress.close()


def _workers(num_images: int) -> processes.MapTasks:
  """Returns who carries out the tasks."""
  if _RUNNER.value:
    return functools.partial(
      beam.map_tasks,
      runner=_RUNNER.value,
      options=_BEAM_OPTIONS.value.split(),
    )
  number = _NUM_PROCESSES.value or processes.choose_number(num_images)
  if number == 1:
    return processes.map_here
  return functools.partial(processes.map_tasks, num_processes=number)


def _parse_feature_keys(pairs: list[str] | None) -> schema.FeatureKeys | None:
  """Returns roles and keys of a flag such as encoded:image,labels:label."""
  for pair in pairs or ():
    if ':' not in pair:
      raise ValueError(
        f'--feature_keys has {pair!r}, but must be pairs such as '
        'encoded:image,labels:label.'
      )
  return schema.normalize_keys(dict(each.split(':', 1) for each in pairs or ()))


def _parse_max_failures(text: str | None) -> int | float | None:
  if text is None:
    return None
  try:
    return int(text) if text.isdigit() else float(text)
  except ValueError as error:
    raise ValueError(
      f'--max_failures is {text!r}, but must be a number of images such as 10, '
      'or a share such as 0.001.'
    ) from error


def _print_manifests(
  manifests: Mapping[str, manifest.Manifest], output_dir: str
) -> None:
  """Prints what there is now, and what was left out."""
  for split, each in manifests.items():
    size = sum(file.bytes for file in each.files)
    print(
      f'{split}: {each.num_examples:,} images of {each.num_classes} classes in '
      f'{len(each.files)} files ({size / 1e6:,.1f} MB) in {output_dir}'
    )
    _print_failures(split, each.failures, output_dir)


def _print_failures(
  split: str, failures: Sequence[manifest.Failure], output_dir: str
) -> None:
  if failures:
    print(f'{split}: left out, {len(failures)}:')
  for failure in failures[:_MAX_FAILURES_SHOWN]:
    print(f'  {failure.name}: {failure.reason}')
  if len(failures) > _MAX_FAILURES_SHOWN:
    print(f'  ... all in {split_files.manifest_path(output_dir, split)}')


if __name__ == '__main__':
  # A process that dies in the middle of its work is a RuntimeError.
  tools.prologue.run(main, mendable=(RuntimeError,))
