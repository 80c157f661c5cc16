// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// progress shows on one line of a terminal how far an update is. Elsewhere it shows nothing.
type progress struct {
	w     io.Writer
	shown bool
}

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{w: io.Discard}
	}
	return &progress{w: w}
}

func (p *progress) show(u *api.Update) {
	done := 0
	for _, o := range u.GetOutcomes() {
		if o.GetState() != api.State_STATE_STAGING && o.GetState() != api.State_STATE_STAGED {
			done++
		}
	}
	// Nothing depends on what is shown in the meantime.
	_, _ = fmt.Fprintf(p.w, "\r\033[K%s: %d of %d storages serviced", updateID(u.GetId()), done, len(u.GetOutcomes()))
	p.shown = true
}

func (p *progress) clear() {
	if p.shown {
		_, _ = fmt.Fprint(p.w, "\r\033[K")
	}
}
