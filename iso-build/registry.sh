#!/bin/sh
# Debian's registry in the foreground, on loopback, with what it keeps in a folder.
#
#   registry.sh FOLDER PORT
set -eu
folder=$1 port=$2
cat >"$folder/registry.yml" <<END
version: 0.1
storage:
  filesystem:
    rootdirectory: $(cd "$folder" && pwd)/registry
http:
  addr: 127.0.0.1:$port
END
exec docker-registry serve "$folder/registry.yml"
