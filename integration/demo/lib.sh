# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0

# A private containerd with molt, in a temporary directory, for the demos. Everything is gone when the script ends.
# Needs MOLT_BIN (bin/) and MOLT_TOOLS (.cache/tools), as `make demo` sets them.

set -euo pipefail

[ "$(id -u)" -eq 0 ] || { echo 'The demo needs root: it mounts overlays and runs containers. Run it with sudo.' >&2; exit 1; }

# A process that is started in a container leaves a chroot for the root of its mount namespace: commands would run elsewhere than
# they seem to. An environment that was entered by pivot_root (a container, a mount namespace of its own) is fine.
identity() { stat -c %d:%i /; }
if [ "$(identity)" != "$(nsenter --mount=/proc/self/ns/mnt stat -c %d:%i / 2>/dev/null)" ]; then
	echo 'The demo does not run in a chroot, or without /proc: containers cannot be started right there.' \
		'Run it on the machine itself, or in a mount namespace whose root is that directory (pivot_root).' >&2
	exit 1
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
root=$(mktemp -d "${TMPDIR:-/tmp}/molt-demo-XXXXXX")
export PATH="$MOLT_BIN:$MOLT_TOOLS:$PATH"
export CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1
export CONTAINERD_ADDRESS="$root/containerd.sock" MOLT_CONTROL_ADDRESS="$root/control.sock" CONTAINERD_SNAPSHOTTER=molt
servers=()

# say tells what comes next; show shows a command and runs it.
say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
show() { printf '\033[36m$ %s\033[0m\n' "${*/stop_container/ctr tasks rm -f}"; "$@"; }
fail() { printf '\033[31mFAILED: %s\033[0m\n' "$*" >&2; exit 1; }

cleanup() {
	local status=$?
	set +e
	for container in $(ctr containers ls -q 2>/dev/null); do
		ctr tasks rm -f "$container" >/dev/null 2>&1
	done
	for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
	for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null; done
	pkill -f "$root" 2>/dev/null
	# Shims unmount what they mounted; what a failure left is unmounted here.
	awk -v r="$root/" 'index($5, r) == 1 {print $5}' /proc/self/mountinfo | sort -r | xargs -r umount -l
	if [ $status -ne 0 ]; then
		echo "--- end of the log of molt" >&2; tail -n 20 "$root/molt.log" >&2
		echo "--- end of the log of containerd" >&2; tail -n 20 "$root/containerd.log" >&2
	fi
	rm -rf "$root"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start() {
	cat >"$root/molt.toml" <<-TOML
		version = 1
		root = "$root/molt"
		[grpc]
		address = "$root/molt.sock"
		[control]
		address = "$root/control.sock"
		[containerd]
		address = "$root/containerd.sock"
		[servicing]
		new_containers = "newest"
	TOML
	cat >"$root/containerd.toml" <<-TOML
		version = 4
		root = "$root/containerd"
		state = "$root/state"
		temp = "$root/tmp"
		imports = []
		disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]
		[plugins."io.containerd.server.v1.grpc"]
		  address = "$root/containerd.sock"
		[plugins."io.containerd.server.v1.ttrpc"]
		  address = "$root/containerd.sock.ttrpc"
		[plugins."io.containerd.shim.v1.manager"]
		  socket_dir = "$root/s"
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$root/opt"
		[proxy_plugins.molt]
		  type = "snapshot"
		  address = "$root/molt.sock"
		  [proxy_plugins.molt.exports]
		    root = "$root/molt"
		[[plugins."io.containerd.transfer.v1.local".unpack_config]]
		  platform = "linux"
		  snapshotter = "molt"
	TOML
	containerd-molt-grpc --config "$root/molt.toml" >"$root/molt.log" 2>&1 &
	servers+=($!)
	containerd --config "$root/containerd.toml" >"$root/containerd.log" 2>&1 &
	servers+=($!)
	for _ in $(seq 100); do
		if moltctl version >/dev/null 2>&1 && ctr version >/dev/null 2>&1; then return; fi
		sleep 0.1
	done
	fail "molt and containerd do not answer"
}

# image NAME LAYER... makes an image of directories, each a layer, and imports it. "-bare" leaves Busybox out.
image() {
	local name=$1 args=()
	shift
	for layer in "$@"; do
		if [ "$layer" = -bare ]; then args+=(-bare); else args+=(-layer "$layer"); fi
	done
	"$root/mkimage" -name "$name" "${args[@]}" >"$root/image.tar"
	ctr images import --snapshotter molt "$root/image.tar" >/dev/null
	rm "$root/image.tar"
}

# in_container CONTAINER COMMAND runs a shell command in a running container.
in_container() {
	local container=$1
	shift
	ctr tasks exec --exec-id "x$RANDOM$RANDOM" "$container" sh -c "$*"
}

# inside CONTAINER COMMAND shows a command and runs it in a container.
inside() {
	printf '\033[36m%s# %s\033[0m\n' "$1" "$2"
	in_container "$1" "$2"
}

# expect_inside CONTAINER fails if commands for the container do not run in it.
expect_inside() {
	local there
	there=$(in_container "$1" 'stat -c %d:%i /') || fail "no command can be run in $1"
	[ "$there" != "$(identity)" ] || fail "commands for $1 run on this machine, not in the container"
	[ "$(in_container "$1" 'readlink /proc/self/ns/mnt')" != "$(readlink /proc/self/ns/mnt)" ] ||
		fail "commands for $1 run in the mount namespace of this machine"
}

# stop_container CONTAINER ends the task of a container; the container stays.
stop_container() { ctr tasks rm -f "$1" >/dev/null 2>&1; }

(cd "$top" && go build -o "$root/mkimage" ./integration/mkimage)
