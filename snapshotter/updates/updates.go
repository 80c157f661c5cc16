// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package updates moves storages from one base to another one and back. It decides with the engine what that makes
// necessary in a storage, writes it into the state directory while the storage is free, and keeps what has to wait
// for that.
package updates

import (
	"context"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/overlay"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/reports"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Host is the containerd that knows images.
type Host interface {
	// Topmost returns the key of the topmost layer of an image, unpacked or not. containerd answers while a write
	// transaction of its metadata is open. It fails with errdefs.ErrNotFound when there is no such image.
	Topmost(ctx context.Context, namespace, image string) (string, error)
	// Announcements returns, by the name of each image with a layer on top, given by its chain ID, what the image
	// says that layer updates, see [LabelUpdateOf]; empty where it says nothing.
	Announcements(ctx context.Context, namespace, layer string) (map[string]string, error)
}

// Config says how storages are updated.
type Config struct {
	Host Host // nil without a containerd
	// OnCommit says what a layer comes to that updates a base.
	OnCommit CommitPolicy
	// Servicing are the options of servicing for all storages.
	Servicing servicing.Options
	// Workers is how many storages are serviced at once.
	Workers int
}

// Updates are the parts that updates are made of.
type Updates struct {
	// Settings are the options of servicing, by storage.
	Settings *Settings
	// Reports are what servicing found and did.
	Reports *Reports
	// Stager writes what a move of a storage makes necessary.
	Stager *Stager
	// Runner carries updates out.
	Runner *Runner
	// Rollbacks undoes them.
	Rollbacks *Rollbacks
	// Previews shows what an update or a rollback would come to.
	Previews *Previews
	// Announcer begins the updates that layers are.
	Announcer *Announcer
	// Inspector looks into storages for people.
	Inspector *Inspector
}

// New returns what updates the storages of a state directory.
func New(s *state.State, tracker *use.Tracker, mounts *overlay.Mounts, tasks *background.Tasks, c Config) *Updates {
	dir := s.Nodes()
	settings := &Settings{state: s, ageing: s.Ageing(), servicing: c.Servicing}
	all := &Reports{state: s, dir: reports.Open(dir.Reports(), dir.Remove)}
	stager := &Stager{
		state: s, nodes: dir, ageing: s.Ageing(), overlay: mounts, tasks: tasks,
		settings: settings, reports: all, ahead: newAhead(),
	}
	runner := &Runner{
		state: s, nodes: dir, tracker: tracker, tasks: tasks, stager: stager, settings: settings,
		turns: make(chan struct{}, c.Workers), failed: newFailures(),
	}
	rollbacks := &Rollbacks{state: s, tracker: tracker, tasks: tasks, runner: runner}
	return &Updates{
		Settings: settings, Reports: all, Stager: stager, Runner: runner, Rollbacks: rollbacks,
		Previews: &Previews{
			state: s, tracker: tracker, overlay: mounts, stager: stager, runner: runner, rollbacks: rollbacks,
		},
		Announcer: &Announcer{state: s, tasks: tasks, host: c.Host, policy: c.OnCommit, runner: runner},
		Inspector: &Inspector{state: s, nodes: dir, stager: stager, reports: all},
	}
}

// Recover goes on in the background with what a stop of the daemon cut short.
func (u *Updates) Recover() {
	if err := u.Runner.giveUpBinds(); err != nil {
		log.L.WithError(err).Error("failed to give up updates of containers whose start was cut short")
	}
	u.Runner.TakeUp()
	u.Announcer.Resume()
}
