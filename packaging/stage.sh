#!/usr/bin/env bash
# stage.sh VERSION ARCHITECTURE ONNX_RUNTIME_VERSION FOLDER: collects the files of the package that are
# not in the repository.
set -euo pipefail
version=$1 architecture=$2 runtime_version=$3 folder=$4
cd "$(dirname "$0")/.."

case $architecture in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *) echo "ONNX Runtime has no library for $architecture; there are amd64 and arm64" >&2; exit 1 ;;
esac
packaging/onnxruntime.sh "$runtime_version" "$machine" "$folder/onnxruntime"
chmod 644 "$folder/onnxruntime/libonnxruntime.so"
gzip -9nf "$folder/onnxruntime/ThirdPartyNotices.txt"

# The date of the last change; it also works in an archive without git.
changed=$(git log -1 --format=%aD 2> /dev/null || date -R -r CHANGELOG.md)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)
cat > "$folder/changelog" << END
edge-ger ($version) bookworm; urgency=medium

  * See /usr/share/doc/edge-ger/CHANGELOG.md for the changes.

 -- $maintainer  $changed
END
