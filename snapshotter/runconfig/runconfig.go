// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package runconfig takes what a container runs with from the defaults of one image to those of another. containerd
// copies these defaults into the container's record when it is made, and nobody looks at the image again.
package runconfig

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// State is what a container's record says that may come from an image.
type State struct {
	Env  []string
	Args []string
	Cwd  string
	User User
	// Labels of the container, those that no image has included.
	Labels map[string]string
}

// User is who a container runs as.
type User struct {
	UID, GID uint32
	// Groups are the supplementary groups, of which containerd makes the own group the first one.
	Groups []uint32
}

// The actions of a Change.
const (
	Changed = "changed" // the old image's default gave way to the new one's
	Added   = "added"   // a default that only the new image has
	Dropped = "dropped" // a default that only the old image has
	Kept    = "kept"    // the images differ, and the container has something of its own
	Note    = "note"    // something that a person should look at
)

// Change is one thing that Rebase did, or on purpose did not do, told for people.
type Change struct {
	Subject string // env, args, cwd, user, label
	Name    string // of the variable or label
	Action  string
	Old     string // the old image's default
	New     string // the new image's
	Why     string
}

// Rebase returns what a container runs with when the defaults of its old image are taken away and those of a new one
// applied. What the container has of its own stays, in its order: the state that is given is not changed. Doing it
// again with the same images changes nothing more, and nor does it when both images say the same.
func Rebase(is State, older, newer ocispec.ImageConfig) (State, []Change) {
	var r rebase
	return State{
		Env:    r.env(is.Env, effectiveEnv(older), effectiveEnv(newer)),
		Args:   r.args(is.Args, older, newer),
		Cwd:    r.cwd(is.Cwd, or(older.WorkingDir, "/"), or(newer.WorkingDir, "/")),
		User:   r.user(is.User, older.User, newer.User),
		Labels: r.labels(is.Labels, effectiveLabels(older), effectiveLabels(newer)),
	}, r.changes
}

// rebase collects what was done.
type rebase struct{ changes []Change }

func (r *rebase) tell(c Change) { r.changes = append(r.changes, c) }

// defaultEnv is what containerd gives to containers of an image that has no variables.
const defaultEnv = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func effectiveEnv(c ocispec.ImageConfig) []string {
	if len(c.Env) == 0 {
		return []string{defaultEnv}
	}
	return c.Env
}

// env goes by whole entries where it asks whose they are: a variable can be there twice, and the last one counts.
func (r *rebase) env(is, older, newer []string) []string {
	was, now, has := byName(older), byName(newer), byName(is)
	var out []string
	for _, entry := range is {
		name, _, _ := strings.Cut(entry, "=")
		value, stays := now[name]
		switch {
		case slices.Contains(newer, entry):
			out = append(out, entry)
		case slices.Contains(older, entry) && stays:
			out = append(out, value)
			r.tell(Change{Subject: "env", Name: name, Action: Changed, Old: valueOf(entry), New: valueOf(value)})
		case slices.Contains(older, entry):
			r.tell(Change{Subject: "env", Name: name, Action: Dropped, Old: valueOf(entry)})
		default:
			out = append(out, entry)
			r.own("env", name, was[name], value)
		}
	}
	for _, entry := range newer {
		name, _, _ := strings.Cut(entry, "=")
		_, own := has[name]
		_, removed := was[name] // by the user: the old image had it
		if own || removed {
			continue
		}
		has[name] = entry
		out = append(out, now[name])
		r.tell(Change{Subject: "env", Name: name, Action: Added, New: valueOf(now[name])})
	}
	return out
}

// own tells of something that stays although the images differ about it.
func (r *rebase) own(subject, name, older, newer string) {
	if older != newer {
		r.tell(Change{Subject: subject, Name: name, Action: Kept, Old: valueOf(older), New: valueOf(newer),
			Why: "the container has its own"})
	}
}

// byName returns the last entry of each name.
func byName(env []string) map[string]string {
	out := make(map[string]string, len(env))
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		out[name] = entry
	}
	return out
}

func valueOf(entry string) string {
	_, value, _ := strings.Cut(entry, "=")
	return value
}

func (r *rebase) cwd(is, older, newer string) string {
	if older == newer {
		return is
	}
	if is != older {
		if is != newer {
			r.tell(Change{Subject: "cwd", Action: Kept, Old: older, New: newer, Why: "the container has its own"})
		}
		return is
	}
	r.tell(Change{Subject: "cwd", Action: Changed, Old: older, New: newer})
	return newer
}

// user can only go by what the images say in numbers: names, and groups that are left out, mean what the container's
// own files make of them.
func (r *rebase) user(is User, older, newer string) User {
	if older == newer {
		return is
	}
	tell := func(action, why string) {
		r.tell(Change{Subject: "user", Action: action, Old: older, New: newer, Why: why})
	}
	was, okOlder := numeric(older)
	now, okNewer := numeric(newer)
	switch {
	case !okOlder || !okNewer:
		tell(Note, "names are not looked up: user and groups stay; make the container anew if they matter")
		return is
	case is.UID == now.UID && is.GID == now.GID:
		return is
	case is.UID != was.UID || is.GID != was.GID:
		tell(Kept, "the container has its own")
		return is
	}
	out := User{UID: now.UID, GID: now.GID, Groups: slices.Clone(is.Groups)}
	if len(out.Groups) > 0 && out.Groups[0] == was.GID {
		out.Groups[0] = now.GID
	}
	tell(Changed, "")
	if len(out.Groups) > 1 {
		tell(Note, "supplementary groups are not looked up: they stay; make the container anew if they matter")
	}
	return out
}

// numeric reads UID:GID. No user at all is root.
func numeric(user string) (User, bool) {
	if user == "" {
		return User{}, true
	}
	uid, gid, _ := strings.Cut(user, ":")
	u, errUID := strconv.ParseUint(uid, 10, 31) // more is refused by containerd
	g, errGID := strconv.ParseUint(gid, 10, 31)
	return User{UID: uint32(u), GID: uint32(g)}, errUID == nil && errGID == nil
}

// What containerd makes labels of, and what it never copies from images.
const (
	stopSignalLabel   = "io.containerd.image.config.stop-signal"
	defaultStopSignal = "SIGTERM"
)

func effectiveLabels(c ocispec.ImageConfig) map[string]string {
	out := make(map[string]string, len(c.Labels)+1)
	for key, value := range c.Labels {
		// A label without a value is none to containerd.
		if value != "" && !strings.HasPrefix(key, "containerd.io/") && !strings.HasPrefix(key, "io.cri-containerd") {
			out[key] = value
		}
	}
	out[stopSignalLabel] = or(c.StopSignal, defaultStopSignal)
	return out
}

func (r *rebase) labels(is, older, newer map[string]string) map[string]string {
	out := maps.Clone(is)
	if out == nil {
		out = map[string]string{}
	}
	all := maps.Clone(older)
	maps.Copy(all, newer)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		has, there := is[key]
		was, before := older[key]
		now, after := newer[key]
		switch {
		case before == after && was == now, there && after && has == now, !there && before:
		case !there:
			out[key] = now
			r.tell(Change{Subject: "label", Name: key, Action: Added, New: now})
		case !before || has != was:
			r.tell(Change{Subject: "label", Name: key, Action: Kept, Old: was, New: now,
				Why: "the container has its own"})
		case after:
			out[key] = now
			r.tell(Change{Subject: "label", Name: key, Action: Changed, Old: was, New: now})
		default:
			delete(out, key)
			r.tell(Change{Subject: "label", Name: key, Action: Dropped, Old: was})
		}
	}
	return out
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
