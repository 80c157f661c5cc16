// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// mixed is an update of storages in several states, with and without reasons.
func mixed() *api.Update {
	u := proto.CloneOf(graph().GetUpdates()[0])
	u.Outcomes = append(u.GetOutcomes(), &api.Outcome{Storage: "default/worker", State: api.State_STATE_HELD, Reasons: []string{"/etc/app.conf: a conflict (text): both changed"}})
	return u
}

// partly is an update of storages in the states given.
func partly(states ...string) *api.Update {
	u := &api.Update{Id: 1, From: 3, To: 4, FromRef: "app:1", State: api.State_STATE_APPLIED}
	if !slices.Contains(states, "applied") {
		u.State = api.State_STATE_ABORTED
	}
	for i, state := range states {
		u.Outcomes = append(u.Outcomes, &api.Outcome{Storage: fmt.Sprintf("default/s%d", i), State: api.Of[api.State](state), Time: at(7)})
	}
	return u
}

// TestMessages has a golden file for each message that once misled somebody, by its name.
func TestMessages(t *testing.T) {
	failing := func(text string, class error) func() *fakeDaemon {
		return func() *fakeDaemon {
			return &fakeDaemon{graph: graph(), update: mixed(), err: fmt.Errorf("%s: %w", text, class)}
		}
	}
	exactly := func(code codes.Code, text string) func() *fakeDaemon {
		return func() *fakeDaemon { return &fakeDaemon{graph: graph(), update: mixed(), err: status.Error(code, text)} }
	}
	saying := func(d *fakeDaemon) func() *fakeDaemon { return func() *fakeDaemon { return d } }
	fates := func(all ...*api.Undone) func() *fakeDaemon { return saying(&fakeDaemon{update: mixed(), fates: all}) }
	together := &api.Update{Id: 3, From: 2, To: 3, State: api.State_STATE_ABORTED, AllOrNothing: true, Outcomes: []*api.Outcome{
		{Storage: "default/db", State: api.State_STATE_ABORTED, Reasons: []string{`not started, because of storage "default/web"`}},
		{Storage: "default/web", State: api.State_STATE_ABORTED, Reasons: []string{"container web is running"}},
	}}
	hidden := `{"packages": [{"name": "libssl3", "base": "3.0.22", "seen": "3.0.20", "lower": true, "reason": "untouched"}],
		"paths": [{"path": "usr/bin/openssl", "package": "openssl", "version": "3.0.22", "fix": true, "how": "replaced"}], "fixes": 2}`
	for name, c := range map[string]struct {
		daemon   func() *fakeDaemon
		commands []string
	}{
		"rollback-of-a-running-one":       {fates(&api.Undone{Storage: "default/web", Fate: "waits", Why: "container web is running"}), []string{"update rollback u1"}},
		"rollback-of-one-storage":         {fates(&api.Undone{Storage: "default/web", Fate: "rolled back"}), []string{"update rollback u1 --storage web"}},
		"all-or-nothing":                  {saying(&fakeDaemon{update: together}), []string{"update create --from a --to b --all-or-nothing"}},
		"report-of-one-that-waits":        {exactly(codes.NotFound, `storage "default/web" is not updated yet: container web is running; moltctl update create --dry-run shows what it would do`), []string{"update report --storage web u1"}},
		"report-of-no-update":             {failing("update u9", errdefs.ErrNotFound), []string{"update report --storage web u9", "update report u9"}},
		"remove-one-that-is-used":         {failing(`storage "default/web" belongs to container "web" (namespace default), remove it first`, errdefs.ErrFailedPrecondition), []string{"storage rm default/web"}},
		"part-of-a-name":                  {exactly(codes.NotFound, `storage "we": not found; a storage is found by whole parts of its name between slashes; names like it are default/web`), []string{"storage inspect we", "storage --help"}},
		"policy-that-is-not-allowed":      {failing(`invalid options: policy for "text": it cannot be "foo"; allowed are keep, take`, errdefs.ErrInvalidArgument), []string{"update create --from a --to b --policy text=foo"}},
		"pin-until-tomorrow":              {saying(&fakeDaemon{}), []string{"storage pin --reason ours --until tomorrow web /etc/motd"}},
		"updated-but-for-those-that-wait": {saying(&fakeDaemon{graph: graph(), update: partly("applied", "planned")}), []string{"update inspect u1", "update create --from a --to b"}},
		"updated-but-for-one-held":        {saying(&fakeDaemon{graph: graph(), update: partly("applied", "held")}), []string{"update inspect u1", "update create --from a --to b"}},
		"one-that-is-held":                {saying(&fakeDaemon{graph: graph(), update: partly("held")}), []string{"update inspect u1", "update create --from a --to b"}},
		"reasons-name-absolute-paths":     {saying(&fakeDaemon{update: mixed()}), []string{"update inspect u1"}},
		"class-of-an-error":               {failing("storage is in use", errdefs.ErrFailedPrecondition), []string{"storage fork web copy", "update rollback u1", "--format json storage fork web copy"}},
		"audit-of-nothing":                {saying(&fakeDaemon{graph: graph(), document: []byte(`{"packages": [], "paths": [], "fixes": 0}`)}), []string{"storage audit web"}},
		"policy-of-nothing":               {saying(&fakeDaemon{document: []byte(`{}`)}), []string{"storage policy web"}},
		"audit-of-what-is-hidden":         {saying(&fakeDaemon{graph: graph(), document: []byte(hidden)}), []string{"storage audit web", "storage audit --help"}},
		"explain-a-path-of-nobody":        {saying(&fakeDaemon{document: []byte(`{"path": "nothing", "exists": false, "stack": null}`)}), []string{"storage explain web /nothing", "--format json storage explain web /nothing"}},
		"why-stands-under-its-header":     {saying(&fakeDaemon{update: mixed()}), []string{"update inspect u1"}},
		"help-of-a-command-below":         {saying(&fakeDaemon{}), []string{"help update apply", "update apply --help"}},
		"a-command-that-is-misspelt":      {saying(&fakeDaemon{}), []string{"storag ls", "storage inspct web", "storage ls --al"}},
		"a-storage-that-is-not-there":     {failing(`storage "x"`, errdefs.ErrNotFound), []string{"storage inspect x", "--format json storage inspect x"}},
		"usage-in-json":                   {saying(&fakeDaemon{}), []string{"--format json storage inspect", "--format=json nonsense", "storage ls --bogus --format json"}},
		"namespace-filters":               {saying(&fakeDaemon{graph: graph()}), []string{"-n nope storage ls", "-n k8s.io storage ls", "-n nope storage ls -A", "storage list", "storage show web"}},
		"several-errors":                  {saying(&fakeDaemon{graph: graph()}), []string{"storage rm nothing db", "--format json storage rm nothing db", "--format json storage rm web"}},
		"completion-is-there":             {saying(&fakeDaemon{}), []string{"completion --help"}},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, filepath.Join("messages", name+".golden"), c.daemon, c.commands...)
		})
	}
}

// listening listens at a socket in a directory of its own.
func listening(t *testing.T) (net.Listener, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return listener, socket
}

// TestNoConnection: no socket, nobody at it, no permission and another program's socket are told apart.
func TestNoConnection(t *testing.T) {
	abandoned, left := listening(t)
	if unix, ok := abandoned.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	if err := abandoned.Close(); err != nil {
		t.Fatal(err)
	}
	listener, foreign := listening(t)
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotsapi.UnimplementedSnapshotsServer{})
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		socket, says string
		code         int
	}{
		{filepath.Join(t.TempDir(), "none"), "there is no socket", exitNoDaemon},
		{left, "nobody listens at", exitNoDaemon},
		{foreign, "is not molt's control socket", exitFailed},
	} {
		var out, errOut bytes.Buffer
		code := run(t.Context(), []string{"moltctl", "--address", c.socket, "storage", "ls"}, &out, &errOut)
		if code != c.code || !strings.Contains(errOut.String(), c.says) || !strings.Contains(errOut.String(), c.socket) || strings.Count(errOut.String(), "\n") != 1 {
			t.Errorf("%s: got %d, %s", c.says, code, &errOut)
		}
	}
	d := &dialer{socket: "/s", failed: fmt.Errorf("dial: %w", os.ErrPermission)}
	if err := d.unreached(io.EOF); exitCode(err) != exitDenied || !strings.Contains(err.Error(), "run moltctl as root") {
		t.Errorf("without permission it is %v", err)
	}
}

// TestErrorsInJSON: an error is one JSON document on the error output, with the exit code in it.
func TestErrorsInJSON(t *testing.T) {
	d := &fakeDaemon{err: fmt.Errorf("%s: %w", odd, errdefs.ErrFailedPrecondition)}
	_, errOut, code := d.ctl(t, "version", "--format", "json")
	var got errorJSON
	if err := json.Unmarshal([]byte(errOut), &got); err != nil || strings.Contains(errOut, "\u009b") {
		t.Fatalf("%v: %s", err, errOut)
	}
	if got.Error.ExitCode != code || got.Error.Code != "refused" || got.Error.Message != odd {
		t.Errorf("got %+v and exit code %d", got, code)
	}
}

// TestEveryConcernHasHelp: the kinds that a policy names are all in its help.
func TestEveryConcernHasHelp(t *testing.T) {
	out, _, _ := (&fakeDaemon{}).ctl(t, "storage", "policy", "--help")
	for _, c := range servicing.Concerns() {
		if !strings.Contains(out, string(c.Concern)) {
			t.Errorf("%s is missing", c.Concern)
		}
	}
}
