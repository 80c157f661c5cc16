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
func (h *Harness) containerdConfig() string {
	var b strings.Builder
	disabled := criPlugins
	if h.opts.cri {
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
`, h.Path("containerd"), h.Path("state"), h.Path("tmp"), disabled, h.Path("containerd.sock"),
		h.Path("containerd.sock.ttrpc"), h.Path("s"), h.Path("opt"), h.Path("opt", "verifier"),
		h.Path("nri.sock"), h.Path("opt", "nri"), h.Path("opt", "nri.d"))

	b.WriteString(h.snapshotterConfig())
	if h.opts.cri {
		b.WriteString(h.criConfig())
	}
	b.WriteString(h.opts.containerdConfig)
	return b.String()
}

// snapshotterConfig names the proxy snapshotter and lets the transfer service unpack into it. The list of
// unpack_config replaces containerd's default, so overlayfs is in it as well.
func (h *Harness) snapshotterConfig() string {
	unpack := func(snapshotter string) string {
		return fmt.Sprintf(`
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux"
  snapshotter = %q
`, snapshotter)
	}
	if h.Daemon == nil {
		return unpack("overlayfs")
	}
	return fmt.Sprintf(`
[proxy_plugins.%s]
  type = "snapshot"
  address = %q
  [proxy_plugins.%s.exports]
    root = %q
`, h.Snapshotter, h.SnapshotsSocket(), h.Snapshotter, h.DaemonRoot()) + unpack("overlayfs") + unpack(h.Snapshotter)
}

// criConfig is what pods on the network of the host need. restrict_oom_score_adj keeps CRI from lowering the OOM
// score of a sandbox below containerd's own, for which a restricted root lacks CAP_SYS_RESOURCE.
func (h *Harness) criConfig() string {
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
`, h.Snapshotter, pauseImage, h.Path("opt", "cni"), h.Path("opt", "cni.d"))
}

// daemonConfig is the configuration of molt's daemon.
func (h *Harness) daemonConfig() string {
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
`, h.DaemonRoot(), h.SnapshotsSocket(), h.ControlSocket(), h.Path("containerd.sock"), h.Snapshotter) + h.opts.daemonConfig
}
