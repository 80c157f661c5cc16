#!/usr/bin/env bash
# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0

# The real one: a Debian container in which packages were installed and files edited gets the security updates of its
# base. Beside it, what becomes of the same files when the overlay is simply put on the new base.
. "$(dirname "$0")/lib.sh"

scripts=$top/integration/debian
trees=$top/.cache/debian
"$scripts/trees.sh" "$trees"
version() { dpkg-query --admindir "$1/var/lib/dpkg" -W -f '${Version}' libssl3; }
# script CONTAINER SCRIPT ARGUMENT... runs a script of the folder debian in a container.
script() {
	local container=$1 file=$2
	shift 2
	ctr tasks exec --exec-id "x$RANDOM$RANDOM" "$container" sh -c "$(cat "$scripts/$file")" "$file" "$@"
}

start
say "Debian as released, and the same with the updates applied since"
image demo/debian:old -bare "$trees/old"
image demo/debian:new -bare "$trees/new"
echo "libssl3 $(version "$trees/old") -> $(version "$trees/new")"

say "A container: nginx, an SSH server, Python and SQLite are installed, an account is made, files are edited and deleted"
show ctr run -d --snapshotter molt --net-host --mount type=bind,src=/etc/resolv.conf,dst=/etc/resolv.conf,options=rbind:ro \
	--label molt.dev/storage=web demo/debian:old web
expect_inside web
script web customise.sh >"$root/customise.log" 2>&1 || { tail -n 20 "$root/customise.log"; fail "the container could not be customised"; }
stop_container web

say "First without molt: the same files, on an overlay over the new base"
upper=$(ctr snapshots --snapshotter molt mounts /m web | tr ' ,' '\n\n' | sed -n 's/^upperdir=//p')
cp -a "$upper" "$root/plain"
mkdir "$root/work" "$root/merged"
mount -t overlay overlay -o "lowerdir=$trees/new,upperdir=$root/plain,workdir=$root/work,index=off,metacopy=off" "$root/merged"
mount -t proc proc "$root/merged/proc"
plain() { chroot "$root/merged" sh -c "$(cat "$scripts/$1")" "$@"; }
show plain check.sh "$(version "$trees/new")" && fail "a plain overlay should not be right"
umount "$root/merged/proc" "$root/merged"

say "Now with molt"
show moltctl update create --storage web --to demo/debian:new
show ctr tasks start -d web
show script web check.sh "$(version "$trees/new")" || fail "the container is not right after the update"
show moltctl graph

say "And back"
stop_container web
show moltctl update rollback u1
ctr tasks start -d web
show script web check.sh "$(version "$trees/old")" || fail "the container is not right after the rollback"
say "Done."
