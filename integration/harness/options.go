// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

// Option changes what Start starts.
type Option func(*options)

type options struct {
	snapshotter      string
	daemonPackage    string
	daemonTags       []string
	daemonConfig     string
	daemonEnv        []string
	daemonApart      bool
	containerdConfig string
	cri              bool
}

// WithSnapshotter uses a snapshotter that is built into containerd, such as overlayfs, and starts no daemon.
func WithSnapshotter(name string) Option {
	return func(o *options) { o.snapshotter, o.daemonPackage = name, "" }
}

// WithDaemon uses another daemon than molt's: the command in this folder of the repository, built with the race
// detector and started with --config, as a proxy snapshotter of this name.
func WithDaemon(folder, snapshotter string) Option {
	return func(o *options) { o.daemonPackage, o.snapshotter = folder, snapshotter }
}

// WithDaemonConfig appends TOML to the configuration of the daemon. It can add tables, not repeat them.
func WithDaemonConfig(toml string) Option {
	return func(o *options) { o.daemonConfig += "\n" + toml + "\n" }
}

// WithDaemonEnv adds variables (KEY=value) to the environment of the daemon.
func WithDaemonEnv(variables ...string) Option {
	return func(o *options) { o.daemonEnv = append(o.daemonEnv, variables...) }
}

// WithFailpoints builds the daemon so that it can be told to die at a failpoint, see [Harness.DieAt].
func WithFailpoints() Option {
	return func(o *options) { o.daemonTags = append(o.daemonTags, "failpoints") }
}

// WithDaemonApart starts the daemon in a pid namespace of its own with a /proc of its own, as in a pod without hostPID.
// It can be killed, but not be asked to end.
func WithDaemonApart() Option {
	return func(o *options) { o.daemonApart = true }
}

// WithContainerdConfig appends TOML to the configuration of containerd. It can add tables, not repeat them.
func WithContainerdConfig(toml string) Option {
	return func(o *options) { o.containerdConfig += "\n" + toml + "\n" }
}

// WithCRI enables containerd's CRI plugin, with the snapshotter of the harness as its default. Pods share the
// network of the host, so no CNI plugins are needed.
func WithCRI() Option {
	return func(o *options) { o.cri = true }
}
