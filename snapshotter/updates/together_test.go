// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// TestNotStarted: the reason why several storages were not updated together is given once, with the storage that it
// is about.
func TestNotStarted(t *testing.T) {
	blocked := &keptBackError{"default/web", fmt.Errorf("container web is running: %w", errdefs.ErrFailedPrecondition)}
	if !errdefs.IsFailedPrecondition(blocked) {
		t.Error("it has lost its class")
	}
	for _, c := range []struct {
		storage string
		err     error
		want    string
	}{
		{"default/web", blocked, "container web is running"},
		{"default/db", blocked, `not started, because of storage "default/web"`},
		{"default/db", errors.Join(blocked, errors.New("more")), `not started, because of storage "default/web"`},
		{"default/db", errors.New("no space"), "no space"},
	} {
		if got := notStarted(c.storage, c.err); got != c.want {
			t.Errorf("%s: got %q, want %q", c.storage, got, c.want)
		}
	}
}

// TestUnreported: that there is no report says why, and is always "not found".
func TestUnreported(t *testing.T) {
	for state, want := range map[dag.State]string{
		dag.Planned: `storage "default/web" is not updated yet: it runs; moltctl update create --dry-run shows what it would do`,
		dag.Staging: `storage "default/web" is not updated yet: u2 is determining what to do`,
		dag.Aborted: `there is no report: storage "default/web" is aborted in update u2: it runs`,
	} {
		err := error(unreportedError{2, "default/web", dag.Outcome{State: state, Reasons: []string{"it runs"}}})
		if !errdefs.IsNotFound(err) || err.Error() != want {
			t.Errorf("%s: got %q, want %q", state, err, want)
		}
	}
	if got, want := keys.Describe("h8/12/c01"), `container "c01" (namespace h8)`; got != want {
		t.Errorf("a key is called %s, not %s", got, want)
	}
}
