// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// fixesWait says how many fixes wait; empty for none.
func fixesWait(n uint32) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 fix waits"
	}
	return fmt.Sprintf("%d fixes wait", n)
}

// stateWith writes a state with how many fixes wait.
func stateWith(state api.State, waits uint32) string {
	if waits == 0 || state != api.State_STATE_APPLIED && state != api.State_STATE_STAGED {
		return api.Word(state)
	}
	return api.Word(state) + ", " + fixesWait(waits)
}

// outcomeState writes how far an update has come for a storage.
func outcomeState(o *api.Outcome) string { return stateWith(o.GetState(), o.GetFixesWaiting()) }

// updateState writes how far an update has come, with the fixes that wait in all its storages. One that did not come as
// far for all of them is so in part; the tally says how many are where. One that is held for all of them is held.
func updateState(u *api.Update) string {
	state := u.GetState()
	others := func(o *api.Outcome) bool { return o.GetState() != state }
	released := func(o *api.Outcome) bool { return o.GetState() != api.State_STATE_HELD }
	if state == api.State_STATE_ABORTED && len(u.GetOutcomes()) > 0 && !slices.ContainsFunc(u.GetOutcomes(), released) {
		return api.Word(api.State_STATE_HELD)
	}
	reached := state == api.State_STATE_APPLIED || state == api.State_STATE_STAGED
	if reached && slices.ContainsFunc(u.GetOutcomes(), others) {
		in := api.Word(state) + " in part"
		if waits := waitsOf(u, state); waits > 0 {
			in += ", " + fixesWait(waits)
		}
		return in
	}
	return stateWith(state, waitsOf(u, state))
}

// waitsOf counts the fixes that wait in the storages of an update that are in a state.
func waitsOf(u *api.Update, state api.State) (n uint32) {
	for _, o := range u.GetOutcomes() {
		if o.GetState() == state {
			n += o.GetFixesWaiting()
		}
	}
	return n
}

// outcomeWhy says why the outcome for a storage is as it is, and which command names the fixes that wait.
func outcomeWhy(o *api.Outcome) string {
	why := o.GetReasons()
	if o.GetState() == api.State_STATE_APPLIED && o.GetFixesWaiting() > 0 {
		why = append(slices.Clip(why), "moltctl storage audit "+o.GetStorage()+" names what waits")
	}
	return strings.Join(why, "; ")
}

// waiting shows the packages of a new base that wait, and what ends that.
func waiting(t *table, list []servicing.Waiting) {
	for i, w := range list {
		what := "fix waits"
		if !w.Fix {
			what = "kept"
		}
		base := w.Base
		if base == "" {
			base = "none"
		}
		t.row("  "+what+":", w.Package, w.Kept+" -> "+base, w.Why())
		if i+1 == len(list) || list[i+1].Do != w.Do {
			t.row("", "to do in the container: "+w.Do)
		}
	}
}

// states are those that an outcome can have, in the order in which they are counted.
var states = [...]api.State{
	api.State_STATE_APPLIED, api.State_STATE_STAGED, api.State_STATE_STAGING, api.State_STATE_PLANNED,
	api.State_STATE_ANNOUNCED, api.State_STATE_HELD, api.State_STATE_ABORTED, api.State_STATE_ROLLED_BACK,
}

// causes say what began an update, where no operator did.
var causes = map[api.Cause]string{
	api.Cause_CAUSE_BIND: "the specification of a container", api.Cause_CAUSE_COMMIT: "a layer that was committed",
}

// tally counts the storages of an update by state.
func tally(u *api.Update) string {
	counts := map[api.State]int{}
	for _, o := range u.GetOutcomes() {
		counts[o.GetState()]++
	}
	var parts []string
	for _, state := range append(states[:], slices.Sorted(maps.Keys(counts))...) {
		if counts[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[state], api.Word(state)))
		}
		delete(counts, state)
	}
	if waits := fixesWait(waitsOf(u, u.GetState())); waits != "" {
		parts = append(parts, waits)
	}
	return orDash(strings.Join(parts, ", "))
}
