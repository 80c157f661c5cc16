// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// AskTimeout bounds a question to containerd.
const AskTimeout = 10 * time.Second

// Host is the containerd that knows which containers run.
type Host interface {
	// Running reports whether the container with the key has a live task.
	Running(ctx context.Context, namespace, key string) (bool, error)
	// Visible reports whether this process sees the process of containerd, and so those of its containers: not from a
	// pid namespace of its own.
	Visible(ctx context.Context) (bool, error)
}

// Tracker knows how storages are in use: by the mounts that were handed out, the mount tables, the kernel, and the
// tasks of containerd. It keeps a storage that is free from being mounted while the storage is touched. It is safe
// for concurrent use.
type Tracker struct {
	state    *state.State
	nodes    *nodes.Dir
	tasks    *background.Tasks
	host     Host // nil without a containerd
	kernel   *Kernel
	handed   *handed
	claims   *nodes.Set  // nodes whose work directory is away while it is found out how they are used
	kept     *nodes.Set  // frozen nodes whose work directories could not be deleted yet
	unseeing atomic.Bool // the processes of the host are out of sight
}

// NewTracker returns what knows how the storages of a state directory are in use. The options are those of ordinary
// mounts; a storage counts as in use for the time of grace after its mounts were handed out.
func NewTracker(s *state.State, tasks *background.Tasks, host Host, options []string, grace time.Duration) *Tracker {
	return &Tracker{
		state: s, nodes: s.Nodes(), tasks: tasks, host: host, kernel: NewKernel(s.Nodes(), options),
		handed: newHanded(grace), claims: nodes.NewSet(), kept: nodes.NewSet(),
	}
}

// Recover brings what a crash left in order, before anything is handed out: open nodes get their work directories
// back. The mounts of every key count as handed out now.
func (t *Tracker) Recover() error {
	if err := t.restoreWork(); err != nil {
		return err
	}
	t.handAfresh()
	return nil
}
