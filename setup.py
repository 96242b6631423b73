"""Packaging of official_coatnet; requirements.lock has the tested versions."""

import pathlib
import re

from setuptools import find_packages, setup

# Read and not imported: the package wants TensorFlow.
_INIT = pathlib.Path(__file__).with_name('official_coatnet') / '__init__.py'
_VERSION = re.search(r"^__version__ = '(.+)'$", _INIT.read_text(), re.MULTILINE)

setup(
  name='official_coatnet',
  version=_VERSION.group(1),
  description='CoAtNet (arXiv:2106.04803) for TensorFlow 2',
  license='Apache-2.0',
  # By name: gin/ holds data only, and as a package it would hide gin-config.
  packages=find_packages(include=['official_coatnet*']),
  package_data={'official_coatnet.pretrained': ['class_names/*.txt']},
  python_requires='>=3.10',
  install_requires=[
    # A range, so that the TensorFlow 2.15 of a TPU VM stays as it is.
    'tensorflow>=2.15,<2.16',
    'tf-models-official',
    'tensorflow-addons',
    'tensorflow-datasets',
    # The requests that warm a server up, and those of tools/query.py.
    'tensorflow-serving-api>=2.15,<2.16',
    # 11.3 has AVIF.
    'pillow>=11.3',
    'gin-config',
    'absl-py',
    'cloud-tpu-client',
  ],
  extras_require={
    # tools/tfrecords.py demo and the pictures of the demo.
    'demo': ['scikit-learn', 'matplotlib'],
    # Weights of others, and for others; newer hubs want another HTTP library.
    'weights': ['huggingface_hub>=0.34,<1', 'safetensors>=0.4', 'h5py'],
    # tools/export.py --format=onnx.
    'onnx': ['tf2onnx>=1.17', 'onnx>=1.18,<1.19', 'onnxruntime>=1.20'],
    # Record building on a cluster; newer releases want another protobuf.
    'beam': ['apache-beam>=2.56,<2.60'],
    # scikit-image for the photographs of its wheel.
    'dev': ['coverage>=7.10', 'mypy', 'ruff', 'scikit-image'],
  },
)
