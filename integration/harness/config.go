// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"strings"
)

// pauseImage is what the sandbox of a pod runs; the harness makes it on the spot.
const pauseImage = "molt.test/pause:1"

// criPlugins are the parts of containerd that only WithCRI needs.
const criPlugins = `"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"`

// containerdConfig is containerd's configuration. Every path that containerd would use by default is replaced
// by one below the root of the harness, apart from runc's state, whose place is a constant of the shim
// (/run/containerd/runc).
func (s starter) containerdConfig() string {
	var b strings.Builder
	disabled := criPlugins
	if s.h.opts.cri {
		disabled = ""
	}
	fmt.Fprintf(&b, `version = 4
root = %q
state = %q
temp = %q
imports = []
disabled_plugins = [%s]

[debug]
  level = "info"

[plugins."io.containerd.server.v1.grpc"]
  address = %q
[plugins."io.containerd.server.v1.ttrpc"]
  address = %q
[plugins."io.containerd.shim.v1.manager"]
  socket_dir = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
[plugins."io.containerd.image-verifier.v1.bindir"]
  bin_dir = %q
[plugins."io.containerd.nri.v1.nri"]
  socket_path = %q
  plugin_path = %q
  plugin_config_path = %q
`, s.h.Path("containerd"), s.h.Path("state"), s.h.Path("tmp"), disabled, s.h.Path("containerd.sock"),
		s.h.Path("containerd.sock.ttrpc"), s.h.Path("s"), s.h.Path("opt"), s.h.Path("opt", "verifier"),
		s.h.Path("nri.sock"), s.h.Path("opt", "nri"), s.h.Path("opt", "nri.d"))

	b.WriteString(s.snapshotterConfig())
	if s.h.opts.cri {
		b.WriteString(s.criConfig())
	}
	b.WriteString(s.h.opts.containerdConfig)
	return b.String()
}

// snapshotterConfig names the proxy snapshotter and lets the transfer service unpack into it. The list of
// unpack_config replaces containerd's default, so overlayfs is in it as well.
func (s starter) snapshotterConfig() string {
	unpack := func(snapshotter string) string {
		return fmt.Sprintf(`
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux"
  snapshotter = %q
`, snapshotter)
	}
	if s.h.Daemon == nil {
		return unpack("overlayfs")
	}
	return fmt.Sprintf(`
[proxy_plugins.%s]
  type = "snapshot"
  address = %q
  [proxy_plugins.%s.exports]
    root = %q
`, s.h.Snapshotter, s.h.SnapshotsSocket(), s.h.Snapshotter, s.h.DaemonRoot()) +
		unpack("overlayfs") + unpack(s.h.Snapshotter)
}

// criConfig is what pods on the network of the host need. restrict_oom_score_adj keeps CRI from lowering the OOM
// score of a sandbox below containerd's own, for which a restricted root lacks CAP_SYS_RESOURCE.
func (s starter) criConfig() string {
	return fmt.Sprintf(`
[plugins."io.containerd.cri.v1.images"]
  snapshotter = %q
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = %q
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  cdi_spec_dirs = []
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [%q]
    conf_dir = %q
`, s.h.Snapshotter, pauseImage, s.h.Path("opt", "cni"), s.h.Path("opt", "cni.d"))
}

// daemonConfig is the configuration of molt's daemon.
func (s starter) daemonConfig() string {
	return fmt.Sprintf(`version = 1
root = %q

[grpc]
address = %q

[control]
address = %q

[containerd]
address = %q
snapshotter = %q

[log]
level = "debug"
format = "text"
`, s.h.DaemonRoot(), s.h.SnapshotsSocket(), s.h.ControlSocket(), s.h.Path("containerd.sock"), s.h.Snapshotter) +
		s.h.opts.daemonConfig
}
