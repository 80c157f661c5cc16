// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// TestWords: each state, kind and cause of the graph is one of the API, and is called the same there.
func TestWords(t *testing.T) {
	same := func(word string, e protoreflect.Enum) {
		t.Helper()
		if e.Number() == 0 || api.Word(e) != word {
			t.Errorf("%q of the graph is %v in the API", word, e)
		}
	}
	of := map[protoreflect.FullName]int{}
	for _, s := range []dag.State{
		dag.Planned, dag.Staging, dag.Staged, dag.Announced, dag.Applied, dag.Held, dag.Aborted, dag.RolledBack, dag.Withdrawn,
	} {
		same(string(s), api.Of[api.State](string(s)))
		of[api.State(0).Descriptor().FullName()]++
	}
	for _, k := range []dag.NodeKind{dag.Layer, dag.Persisted, dag.Delta} {
		same(string(k), api.Of[api.NodeKind](string(k)))
		of[api.NodeKind(0).Descriptor().FullName()]++
	}
	for _, k := range []dag.NameKind{dag.Active, dag.View, dag.Committed} {
		same(string(k), api.Of[api.NameKind](string(k)))
		of[api.NameKind(0).Descriptor().FullName()]++
	}
	for _, c := range []dag.Cause{dag.ByCommand, dag.ByBind, dag.ByCommit} {
		same(string(c), api.Of[api.Cause](string(c)))
		of[api.Cause(0).Descriptor().FullName()]++
	}
	enums := api.File_snapshotter_api_control_v1_control_proto.Enums()
	for i := range enums.Len() {
		if e := enums.Get(i); e.Values().Len() != of[e.FullName()]+1 {
			t.Errorf("%s has %d values, the graph has %d", e.Name(), e.Values().Len()-1, of[e.FullName()])
		}
	}
	if got := api.Of[api.State]("none"); got != 0 || api.Word(got) != "" || api.Word(api.State(99)) != "99" {
		t.Errorf("a word that is none is %v", got)
	}
}
