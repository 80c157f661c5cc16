// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxAttributes bounds the memory in bytes that a plan holds for the extended attributes of the paths it changes.
// Values of more than 256 bytes count with their digest alone, access control lists with all their bytes.
const maxAttributes = 64 << 20

// perAttribute is about what one extended attribute takes besides its name and its value.
const perAttribute = 96

// attributes counts what a plan holds.
type attributes struct {
	held  int
	heavy string // the path with the most
	most  int    // how much that is
	full  bool   // the bound was reached: no further ones are held

	unread int // how many paths there are whose extended attributes cannot be read
}

// memoryOf returns about how much memory extended attributes take.
func memoryOf(m tree.Meta) (bytes int) {
	for name, value := range m.Xattrs {
		bytes += perAttribute + len(name) + value.Memory()
	}
	return bytes
}

// show decides what stands at a path in the result. Metadata that is not known, or that there is no room for, holds the
// storage.
func (r *result) show(name string, o sides.Outcome) {
	r.attrs.held -= memoryOf(r.want[name].Meta)
	r.want[name] = r.counted(name, o)
}

// counted returns an outcome that is to be kept at a path, without its extended attributes where these are too many.
func (r *result) counted(name string, o sides.Outcome) sides.Outcome {
	a, bytes := &r.attrs, memoryOf(o.Meta)
	if o.Unread != nil {
		if !a.full { // else it is held already, and this may be what was left out below
			r.holdUnread(name, o.Unread)
		}
		return o
	}
	if bytes > a.most {
		a.heavy, a.most = name, bytes
	}
	if a.held += bytes; a.held <= maxAttributes && !a.full {
		return o
	}
	a.held -= bytes
	a.full = true
	o.Xattrs, o.Unread = nil, &tree.UnreadableError{Path: name, Why: tree.LongList}
	return o
}

// holdUnread holds the storage because of extended attributes that cannot be read.
func (r *result) holdUnread(name string, why *tree.UnreadableError) {
	if r.attrs.unread++; r.attrs.unread <= sides.MaxNamed {
		r.Hold(report.HoldAttributes, name, why.Error())
	}
}

// holdHeavy holds the storage when there were too many extended attributes to plan with, and says how many paths of
// which they cannot be read are not named.
func (r *result) holdHeavy() {
	if more := r.attrs.unread - sides.MaxNamed; more > 0 {
		r.Hold(report.HoldAttributes, "", fmt.Sprintf("%d more paths have extended attributes that cannot be read",
			more))
	}
	if !r.attrs.full {
		return
	}
	r.Hold(report.HoldAttributes, r.attrs.heavy, fmt.Sprintf(
		"the extended attributes of the paths to be reconciled take more than %d MiB of memory; "+
			"those of %q take the most, %d KiB",
		maxAttributes>>20, r.attrs.heavy, r.attrs.most>>10))
}
