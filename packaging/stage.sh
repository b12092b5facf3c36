#!/usr/bin/env bash
# stage.sh VERSION ARCHITECTURE ONNX_RUNTIME_VERSION FOLDER: gathers what the package holds and the repository does not.
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

# The moment of the last change, also in an archive without git.
changed=$(git log -1 --format=%aD 2> /dev/null || date -R -r CHANGELOG.md)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)
cat > "$folder/changelog" << END
edge-ger ($version) bookworm; urgency=medium

  * What changed is said in /usr/share/doc/edge-ger/CHANGELOG.md.

 -- $maintainer  $changed
END
