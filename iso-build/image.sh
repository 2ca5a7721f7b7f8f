#!/bin/sh
# Packs a folder as an image of one layer, in an OCI layout that skopeo and others read.
#
#   image.sh OUT NAME ROOT [COMMAND…]     OUT/ gets the layout, with the image as NAME:latest;
#                                         COMMAND: what it runs; ENV="A=1 B=2": its environment
set -eu
out=$1 name=$2 root=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
time=$("$here/epoch.sh")
blobs=$out/blobs/sha256
mkdir -p "$blobs"

# Takes a file in as a blob: "DIGEST SIZE".
blob() {
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    mv "$1" "$blobs/$digest"
    echo "$digest $size"
}

# Words as a JSON list.
list() {
    comma=
    printf '['
    for word; do
        printf '%s"%s"' "$comma" "$(printf '%s' "$word" | sed 's/[\\"]/\\&/g')"
        comma=,
    done
    printf ']'
}

tar --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner -C "$root" -cf "$out/layer" .
diff=$(sha256sum "$out/layer" | cut -d' ' -f1)
gzip -n "$out/layer"
layer=$(blob "$out/layer.gz")
# shellcheck disable=SC2086 # the environment is split into words
cat >"$out/config" <<END
{"created":"$(date -u -d "@$time" +%Y-%m-%dT%H:%M:%SZ)","architecture":"amd64","os":"linux",
"config":{"Cmd":$(list "$@"),"Env":$(list ${ENV:-PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin})},
"rootfs":{"type":"layers","diff_ids":["sha256:$diff"]},
"history":[{"created":"$(date -u -d "@$time" +%Y-%m-%dT%H:%M:%SZ)","created_by":"image.sh $name"}]}
END
config=$(blob "$out/config")
descriptor() {
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s' "$1" "${2% *}" "${2#* }"
}
{
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":'
    descriptor application/vnd.oci.image.config.v1+json "$config"
    printf '},"layers":['
    descriptor application/vnd.oci.image.layer.v1.tar+gzip "$layer"
    printf '}]}'
} >"$out/manifest"
manifest=$(blob "$out/manifest")
{
    printf '{"schemaVersion":2,"manifests":['
    descriptor application/vnd.oci.image.manifest.v1+json "$manifest"
    printf ',"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' "$name:latest"
} >"$out/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$out/oci-layout"
