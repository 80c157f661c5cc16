// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// ending counts, over the storages of an update, what people want to look at when it has ended, or would have: how much
// of what, and in how many storages.
type ending struct {
	merged, beside, moved, warned, hidden amount
	held                                  map[servicing.HoldCode]int // storages, by cause; one can have several
	waits                                 map[string]int             // storages, by the kind of use that they wait for
	shelved                               string                     // the last storage with something beside
}

// amount is how many things there are, in how many storages.
type amount struct{ things, storages int }

func (a *amount) add(things int) {
	if things > 0 {
		a.things += things
		a.storages++
	}
}

// head is what a report says before it comes to its paths.
type head struct {
	counts           map[servicing.Verdict]int
	causes           []servicing.HoldCode // of holds, each once
	warnings, hidden int
}

// errEnough ends the reading of a report of which the rest is not needed.
var errEnough = errors.New("the rest is not needed")

// readHead reads a report until it comes to its paths.
func readHead(report io.Reader) (h head, err error) {
	err = eachField(report, func(name string, dec *json.Decoder) error {
		switch name {
		case "counts":
			return dec.Decode(&h.counts)
		case "hidden_fixes":
			return dec.Decode(&h.hidden)
		case "holds":
			return eachElement(dec, func(r servicing.Reason) error {
				h.addHold(r)
				return nil
			})
		case "findings":
			return eachElement(dec, func(servicing.CheckFinding) error {
				h.warnings++
				return nil
			})
		case "paths":
			return errEnough
		}
		return skipValue(dec)
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return h, err
}

func (h *head) addHold(r servicing.Reason) {
	if r.Code != "" && !slices.Contains(h.causes, r.Code) {
		h.causes = append(h.causes, r.Code)
	}
}

// headOf returns the head of a report.
func headOf(r *servicing.Report) head {
	h := head{counts: r.Counts, warnings: len(r.Findings), hidden: r.HiddenFixes}
	for _, reason := range r.Holds {
		h.addHold(reason)
	}
	return h
}

// done counts a storage that was updated, or would be.
func (e *ending) done(h head) {
	e.merged.add(h.counts[servicing.Merge])
	e.beside.add(h.counts[servicing.Beside])
	e.moved.add(h.counts[servicing.Relocate])
	e.warned.add(h.warnings)
	e.hidden.add(h.hidden)
}

// refused counts a storage that is held, or would be.
func (e *ending) refused(h head) {
	if e.held == nil {
		e.held = make(map[servicing.HoldCode]int)
	}
	for _, cause := range h.causes { // none in the reports of older versions
		e.held[cause]++
	}
}

// waiting counts a storage that waits for a use to end, or would.
func (e *ending) waiting(use string) {
	if e.waits == nil {
		e.waits = make(map[string]int)
	}
	e.waits[use]++
}

// printEnding says, for people, what an update did besides moving storages, what keeps it from the others, and which
// commands say more.
func printEnding(ctx context.Context, c *cli.Command, client api.ControlClient, u *api.Update) error {
	if c.String("format") == formatJSON {
		return nil
	}
	var e ending
	for _, o := range u.GetOutcomes() {
		if o.GetState() == api.State_STATE_PLANNED && o.GetUse() != "" {
			e.waiting(o.GetUse())
		}
		if !o.GetReport() || o.GetState() != api.State_STATE_APPLIED && o.GetState() != api.State_STATE_HELD {
			continue
		}
		h, err := fetchHead(ctx, client, u.GetId(), o.GetStorage())
		if err != nil {
			return err
		}
		if o.GetState() == api.State_STATE_HELD {
			e.refused(h)
		} else {
			e.done(h)
			if h.counts[servicing.Beside] > 0 {
				e.shelved = o.GetStorage()
			}
		}
	}
	t := newTable(c.Root().Writer)
	return t.end(e.show(t, updateID(u.GetId())))
}

// fetchHead takes the head of the report on a storage. That there is none any longer is no error.
func fetchHead(ctx context.Context, client api.ControlClient, id uint64, storage string) (h head, err error) {
	ctx, cancel := context.WithCancel(ctx) // which ends the stream when the rest is not needed
	defer cancel()
	stream, err := client.GetReport(ctx, &api.GetReportRequest{Id: id, Storage: storage})
	if err == nil {
		h, err = readHead(api.Reader(stream, (*api.GetReportResponse).GetReport))
	}
	if err != nil && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		return h, fmt.Errorf("report on storage %q: %w", storage, err)
	}
	return h, nil
}

// show prints what was counted. Of a dry run, which has no update, all is named above.
func (e *ending) show(t *table, update string) error {
	report, inspect := ": moltctl update report "+update, ": moltctl update inspect --watch "+update
	beside := ": moltctl storage beside ls STORAGE"
	if e.beside.storages == 1 && e.shelved != "" {
		beside = ": moltctl storage beside ls " + e.shelved
	}
	if update == "" {
		report, inspect, beside = ", see above", "", ", see above"
	}
	for _, row := range []struct {
		amount
		one, many, more string
	}{
		{e.merged, "file holds your changes and the base's", "files hold your changes and the base's", report},
		{e.beside, "file is yours, and the new one is beside", "files are yours, and the new ones are beside", beside},
		{e.moved, "path of yours has moved out of the way of the base",
			"paths of yours have moved out of the way of the base", report},
		{e.hidden, "fix is hidden by what is yours", "fixes are hidden by what is yours", report},
		{e.warned, "warning of the checks", "warnings of the checks", report},
	} {
		if row.things > 0 {
			t.row("note:", fmt.Sprintf("%d %s, in %s%s", row.things, plural(row.things, row.one, row.many),
				storagesCount(row.storages), row.more))
		}
	}
	for _, cause := range slices.SortedFunc(maps.Keys(e.held), e.moreHeld) {
		c := codeOf(string(cause))
		t.row("note:", fmt.Sprintf("%s held, %s%s", storagesCount(e.held[cause]), c.meaning(), report))
		if c.do != "" {
			t.row("", "to do: "+c.do)
		}
	}
	for _, use := range slices.Sorted(maps.Keys(e.waits)) {
		n := e.waits[use]
		t.row("note:", fmt.Sprintf("%s %s, %s%s", storagesCount(n), plural(n, "waits", "wait"), codeOf(use).meaning(),
			inspect))
	}
	return t.err
}

// moreHeld puts the cause that holds more storages first.
func (e *ending) moreHeld(a, b servicing.HoldCode) int {
	return cmp.Or(cmp.Compare(e.held[b], e.held[a]), cmp.Compare(a, b))
}

func storagesCount(n int) string { return fmt.Sprintf("%d %s", n, plural(n, "storage", "storages")) }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
