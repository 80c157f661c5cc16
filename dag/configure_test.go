// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag_test

import (
	"encoding/json"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// TestConfigure: settings stay with a storage through updates, and are the storage's alone.
func TestConfigure(t *testing.T) {
	w := newWorld(t)
	w.layer("a", "")
	w.anonymous("k", "a", "open")
	w.do(dag.Bind{Key: "k", Storage: "s", Now: w.now()})
	if _, err := w.g.Plan(dag.Configure{Storage: "none"}); !errdefs.IsNotFound(err) {
		t.Errorf("a storage that is not there was configured: %v", err)
	}
	settings := json.RawMessage(`{"x":1}`)
	w.do(dag.Configure{Storage: "s", Settings: settings})
	settings[1] = 'y' // the caller's slice is the caller's
	if s, _ := w.g.Storage("s"); string(s.Settings) != `{"x":1}` {
		t.Errorf("the settings are %s", s.Settings)
	}
	w.do(dag.Configure{Storage: "s"})
	if s, _ := w.g.Storage("s"); s.Settings != nil {
		t.Errorf("the settings are still %s", s.Settings)
	}
}

// TestRelease: a storage without its holder can be moved and leaves the key of the holder where it was.
func TestRelease(t *testing.T) {
	w := newWorld(t)
	w.layer("a", "")
	w.anonymous("k", "a", "open")
	if _, err := w.g.Plan(dag.Release{Storage: dag.AnonymousName("k")}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("an anonymous storage was taken from its key: %v", err)
	}
	w.do(dag.Bind{Key: "k", Storage: "s", Now: w.now()})
	w.do(dag.Release{Storage: "s"})
	s, _ := w.g.Storage("s")
	n, _ := w.g.Name("k")
	if s.Key != "" || n.Storage != "s" || n.Node != w.id("a") {
		t.Errorf("after the release: %+v, %+v", s, n)
	}
	if _, err := w.g.Plan(dag.Release{Storage: "none"}); !errdefs.IsNotFound(err) {
		t.Errorf("a storage that is not there was released: %v", err)
	}
}
