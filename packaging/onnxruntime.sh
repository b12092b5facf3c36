#!/usr/bin/env bash
# onnxruntime.sh VERSION MACHINE FOLDER: writes ONNX Runtime's library for x86_64 or aarch64, its licence, and the
# licences of its components to FOLDER. They come from its Python wheel; its Python code is not used.
set -euo pipefail
version=$1 machine=$2 folder=$3

rm -rf "$folder"
mkdir -p "$folder/wheel"
python3 -m pip download -q --no-deps --only-binary=:all: --implementation cp --python-version 311 \
    --platform "manylinux_2_27_$machine" --platform "manylinux_2_28_$machine" \
    -d "$folder/wheel" "onnxruntime==$version"
python3 -m zipfile -e "$folder"/wheel/onnxruntime-*.whl "$folder/wheel"
mv "$folder/wheel/onnxruntime/capi/libonnxruntime.so.$version" "$folder/libonnxruntime.so"
mv "$folder"/wheel/onnxruntime/{LICENSE,ThirdPartyNotices.txt} "$folder"
rm -rf "$folder/wheel"
