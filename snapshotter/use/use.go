// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package use describes how a storage is in use, asks the kernel whether a directory is the upper one of an overlay,
// and finds the processes behind a mount.
package use

import (
	"fmt"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
)

// Code is a kind of use.
type Code string

// The kinds of use.
const (
	// Free: nothing uses it.
	Free Code = ""
	// Running: containerd reports a live task.
	Running Code = "use-running"
	// Mounted: a mount table shows it as the upper directory of an overlay, or mounted itself.
	Mounted Code = "use-mounted"
	// Starting: its mounts were given to containerd a moment ago, and may be about to be made. This ends by itself.
	Starting Code = "use-starting"
	// Unseen: the kernel reports a use that no mount table shows.
	Unseen Code = "use-unseen"
	// Blind: the daemon does not see the processes of the host, so nothing shows whether it is in use.
	Blind Code = "use-blind"
	// Unknown: one of the questions got no answer, so it counts as in use.
	Unknown Code = "use-unknown"
)

// Process is a process as it is named to people.
type Process struct {
	PID  int
	Name string
}

func (p Process) String() string { return fmt.Sprintf("process %d (%s)", p.PID, p.Name) }

// Use is how a storage is in use at a moment. The zero value means that it is free.
type Use struct {
	Code Code
	// Container is the key of the container that has the storage, empty if none has.
	Container string
	// Places are where it is mounted, for Mounted.
	Places []mounttable.Place
	// Processes are those that hold it, as far as they were looked for and found. For Unseen they may hold it.
	Processes []Process
	// Kept are files that keep a mount namespace without a process, where it may be mounted, for Unseen.
	Kept []string
	// Err is why there was no answer, for Unknown.
	Err error
}

// Free reports whether the storage may be touched.
func (u Use) Free() bool { return u.Code == Free }

// Soon reports whether the use ends by itself in a moment.
func (u Use) Soon() bool { return u.Code == Starting }

// Assumable reports whether an operator may say that the storage is free nevertheless: not when a mount or a task is
// seen.
func (u Use) Assumable() bool {
	switch u.Code {
	case Unseen, Blind, Unknown:
		return true
	}
	return false
}

// String says what uses the storage.
func (u Use) String() string {
	switch u.Code {
	case Free:
		return "nothing uses it"
	case Running:
		return fmt.Sprintf("container %s is running", u.Container)
	case Mounted:
		return "it is mounted" + u.where()
	case Starting:
		return fmt.Sprintf("container %s may be starting: its mounts were handed out a moment ago", u.Container)
	case Unseen:
		return "the kernel reports that it is mounted, though no mount table shows it; " + u.suspects() + assumeFree
	case Blind:
		return "molt does not see the processes of the host, and so not what they have mounted: " +
			"run the daemon in the pid namespace of the host" + assumeFree
	}
	return fmt.Sprintf("it cannot be found out whether it is in use (%v)", u.Err) + assumeFree
}

// assumeFree is the way out that an operator has.
const assumeFree = "; if you know that nothing uses it, repeat this with --assume-free"

func (u Use) where() string {
	var points []string
	for _, p := range u.Places {
		if !slices.Contains(points, p.Point) { // it may be there in several mount namespaces
			points = append(points, p.Point)
		}
	}
	text := ""
	if len(points) > 0 {
		text = " at " + some(points)
	}
	if len(u.Processes) > 0 {
		text += " by " + processes(u.Processes)
	}
	return text
}

func (u Use) suspects() string {
	var all []string
	if len(u.Processes) > 0 {
		all = append(all, processes(u.Processes)+" with a file of an unmounted overlay")
	}
	if len(u.Kept) > 0 {
		all = append(all, "a mount namespace that is kept by "+some(u.Kept))
	}
	if len(all) == 0 {
		return "no process was found that could hold it; a descriptor may be on its way through a socket"
	}
	return "what holds it may be " + strings.Join(all, ", or ")
}

// Waiting says what uses the storage, and when that will be done which waits for it. done is the participle: "updated".
func (u Use) Waiting(done string) string {
	end := "that can be found out"
	switch u.Code {
	case Running:
		end = "the container stops"
	case Mounted:
		end = "that mount is gone"
	case Starting, Unseen:
		end = "that use ends"
	}
	return fmt.Sprintf("%s; it will be %s when %s, or at its next start", u, done, end)
}

// most is how many things of a kind are named.
const most = 4

func some(names []string) string {
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

func processes(list []Process) string {
	names := make([]string, 0, len(list))
	for _, p := range list {
		names = append(names, p.String())
	}
	return some(names)
}
