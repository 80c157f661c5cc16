// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// seen returns what the mount tables and containerd show of a storage. What cannot be asked counts as a use.
func (t *Tracker) seen(ctx context.Context, st dag.Storage) (mounttable.Table, Use) {
	table, tableErr := mounttable.Read(t.nodes.Published())
	u := Use{Container: keys.Parse(st.Key).Key}
	running, err := t.Running(ctx, st.Key)
	switch {
	case running:
		u.Code = Running
	case tableErr == nil && table.Written(st.Head):
		u.Code, u.Places = Mounted, table.Places(st.Head)
	case tableErr != nil:
		u.Code, u.Err = Unknown, tableErr
	case err != nil:
		u.Code, u.Err = Unknown, err
	case t.blind(ctx):
		u.Code = Blind
	}
	return table, u
}

// asked returns what the kernel says of the head of a storage that no mount table shows.
func (t *Tracker) asked(st dag.Storage, table mounttable.Table) Use {
	busy, err := t.kernel.Ask(t.nodes.FS(st.Head))
	switch {
	case !busy && err == nil:
		return Use{}
	case errors.Is(err, ErrUnable):
		return Use{} // check reports it; the mount tables decide
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return Use{} // removing a storage is what makes room
	case err != nil:
		return unanswered(st, err)
	}
	u := Use{Code: Unseen, Container: keys.Parse(st.Key).Key}
	if places := table.Resembling(t.nodes.FS(st.Head)); len(places) > 0 {
		u.Code, u.Places = Mounted, places
	}
	return u
}

// blind reports whether the processes of the host are known to be out of sight.
func (t *Tracker) blind(ctx context.Context) bool {
	if t.host == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	visible, err := t.host.Visible(ctx)
	if err == nil {
		t.unseeing.Store(!visible)
	}
	return t.unseeing.Load()
}

// lookedAt returns how a storage is in use now, free when somebody is at work with it. With assumeFree it is free as
// well when an operator may answer for that. What is claimed for the look is given back.
func (t *Tracker) lookedAt(ctx context.Context, name string, assumeFree bool) (u Use) {
	unlock, err := t.state.TryLock(ctx, name)
	if err != nil {
		return Use{}
	}
	defer unlock()
	// The storage may have another container, or another head, than when it was looked up without its lock.
	st, ok := t.state.Storage(name)
	if !ok {
		return Use{}
	}
	c, u := t.Claim(ctx, st, false)
	if assumeFree && u.Assumable() {
		// A claim would renew the work directory, which may be that of a mount: it is no more than looked at.
		if c, _, u, err = t.beginClaim(ctx, st, true); err != nil {
			u = unanswered(st, err)
		} else if u.Assumable() {
			u = Use{}
		}
	}
	if err := c.Close(); err != nil {
		log.G(ctx).WithError(err).WithField("storage", name).Error("failed to give a storage its work directory back")
	}
	return u
}

// Named returns a use with the processes behind it, for people to read.
func (t *Tracker) Named(ctx context.Context, u Use) Use {
	if u.Code != Mounted && u.Code != Unseen {
		return u
	}
	table, err := mounttable.Read(t.nodes.Published())
	if err != nil {
		log.G(ctx).WithError(err).Debug("the processes that use a storage were not looked for")
		return u
	}
	return u.Named(table)
}

// Running asks containerd whether a key has a live task. Keys that containerd did not make are nobody's; without an
// answer it is an error.
func (t *Tracker) Running(ctx context.Context, key string) (bool, error) {
	k := keys.Parse(key)
	if key == "" || k.Extraction() || t.host == nil || k.Namespace == "" {
		return false, nil
	}
	// containerd itself may be waiting, for a shim that hangs.
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	return t.host.Running(ctx, k.Namespace, k.Key)
}

// Waits returns the use that a storage would have to wait for. With assumeFree that is not what an operator may
// answer for.
func (t *Tracker) Waits(ctx context.Context, st dag.Storage, assumeFree bool) Use {
	_, u := t.seen(ctx, st)
	if u.Free() || assumeFree && u.Assumable() {
		u = Use{}
		if !t.Recently(st.Key) { // which ends by itself
			u = t.lookedAt(ctx, st.Name, assumeFree)
		}
	}
	if u.Free() || u.Soon() {
		return Use{}
	}
	return t.Named(ctx, u)
}

// Check looks for what keeps it from being found out whether storages are in use.
func (t *Tracker) Check(ctx context.Context) (found []state.Problem, _ error) {
	if err := t.kernel.Able(); err != nil {
		found = append(found, state.Problem{
			Subject: "kernel",
			What: fmt.Sprintf("it cannot be asked whether a storage is in use, "+
				"so that only the mount tables and containerd are (%v)", err),
		})
	}
	if t.blind(ctx) {
		found = append(found, state.Problem{
			Subject: "daemon", Grave: true,
			What: "it does not see the processes of the host and what they have mounted, " +
				"so that every storage counts as in use; run it in the pid namespace of the host",
		})
	}
	return found, nil
}
