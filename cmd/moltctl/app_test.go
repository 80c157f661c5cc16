// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// TestExitCodes: what the daemon answers, and what it is called, decide the exit code; the reason is told on the error output.
func TestExitCodes(t *testing.T) {
	ok := func() *fakeDaemon {
		return &fakeDaemon{graph: graph(), update: &api.Update{Id: 1, State: api.State_STATE_APPLIED}, report: []byte("{}")}
	}
	failing := func(err error) func() *fakeDaemon {
		return func() *fakeDaemon {
			d := ok()
			d.err = fmt.Errorf("because: %w", err)
			return d
		}
	}
	outcome := func(states ...string) func() *fakeDaemon {
		return func() *fakeDaemon {
			d := ok()
			for i, state := range states {
				d.update.Outcomes = append(d.update.Outcomes, &api.Outcome{Storage: fmt.Sprint("default/", i), State: api.Of[api.State](state)})
			}
			return d
		}
	}
	// unreturned is a rollback that failed for some storages, told one that cannot be told for some; OK is one to be held.
	unreturned := func(why ...codes.Code) func() *fakeDaemon {
		return func() *fakeDaemon {
			d := ok()
			for _, code := range why {
				d.failures, d.codes = append(d.failures, "storage web"), append(d.codes, uint32(code))
			}
			return d
		}
	}
	fated := func(fate string, code codes.Code) func() *fakeDaemon {
		return func() *fakeDaemon {
			d := ok()
			d.fates = []*api.Undone{{Storage: "default/web", Fate: fate, By: 9, Why: "because", Code: uint32(code)}}
			return d
		}
	}
	told := func(why ...codes.Code) func() *fakeDaemon {
		return func() *fakeDaemon {
			d := ok()
			for _, code := range why {
				p := preview{&api.Preview{Storage: "default/web", Error: "odd", Code: uint32(code)}, ""}
				if code == codes.OK {
					p = preview{&api.Preview{Storage: "default/web", Holds: []string{"odd"}}, ""}
				}
				d.preview = append(d.preview, p)
			}
			return d
		}
	}
	inUse := func() *fakeDaemon {
		d := ok()
		d.preview = []preview{{&api.Preview{Storage: "default/web", Waits: "it is mounted"}, ""}, {&api.Preview{Storage: "default/db"}, ""}}
		return d
	}
	for _, c := range []struct {
		command string
		daemon  func() *fakeDaemon
		code    int
		says    string
	}{
		{"version", ok, exitOK, ""},
		{"", ok, exitOK, ""},
		{"storage", ok, exitOK, ""},
		{"storage --help", ok, exitOK, ""},
		{"storage rm web", ok, exitOK, ""},

		{"version", failing(errors.New("odd")), exitFailed, "because: odd"},
		{"graph", failing(errdefs.ErrInvalidArgument), exitUsage, "because"},
		{"storage inspect web", failing(errdefs.ErrNotFound), exitNotFound, "because"},
		{"storage diff web", failing(errdefs.ErrNotFound), exitNotFound, "because"},
		{"storage fork web copy", failing(errdefs.ErrFailedPrecondition), exitRefused, "because"},
		{"update create --to b --detach", failing(errdefs.ErrFailedPrecondition), exitRefused, "because"},
		{"update rollback u1", failing(errdefs.ErrFailedPrecondition), exitRefused, "because"},
		{"update create --from a --to b", failing(errdefs.ErrUnavailable), exitFailed, "because"},
		{"storage rm nothing", ok, exitNotFound, "nothing"},
		{"storage rm db", ok, exitNotFound, "k8s.io/team/db/app"},

		{"update create --from a --to b", outcome("held"), exitHeld, "held"},
		{"update create --from a --to b", outcome("aborted"), exitFailed, "of 1 storage: 1 aborted"},
		{"update create --from a --to b", outcome("held", "aborted", "held", "applied"), exitFailed, "of 4 storages: 1 aborted; 2 held"},
		{"update create --from a --to b", outcome("planned"), exitOK, ""},
		{"update inspect u1", outcome("held"), exitOK, ""},
		{"update rollback u1", unreturned(codes.NotFound), exitNotFound, "of 1 storage: 1 not rolled back (not found)"},
		{"update rollback u1", unreturned(codes.FailedPrecondition, codes.NotFound), exitRefused, "1 not rolled back (refused as things stand); 1 "},
		{"update rollback u1", unreturned(codes.NotFound, codes.Unknown), exitFailed, "1 not rolled back (failed); 1 "},
		{"update create --from a --to b --dry-run", told(codes.OK), exitHeld, "of 1 storage: 1 would be held"},
		{"update create --from a --to b --dry-run", told(codes.OK, codes.NotFound), exitNotFound, "1 would be held"},
		{"update create --from a --to b --dry-run", told(codes.NotFound, codes.FailedPrecondition), exitRefused, "(refused as things stand)"},
		{"update create --from a --to b --dry-run", told(codes.Unknown, codes.OK), exitFailed, "1 cannot be told (failed); 1 would be held"},
		{"update create --from a --to b --dry-run", inUse, exitOK, ""},
		{"update create --from a --to b --dry-run --all-or-nothing", inUse, exitFailed, "of 2 storages: 1 in use; none of them would be updated"},
		{"update create --from a --to b --dry-run --all-or-nothing", told(codes.OK), exitHeld, "1 would be held; none of them would be updated"},
		{"update create --from a --to b --dry-run --all-or-nothing", ok, exitOK, ""},
		{"--format json update create --from a --to b --dry-run --all-or-nothing", inUse, exitFailed, "none of them would be updated"},
		{"update create --from a --to b --dry-run --detach", ok, exitUsage, "--detach"},
		{"update rollback --dry-run u1", told(codes.OK), exitRefused, "1 could not be carried over"},
		{"update rollback u1", fated("moved on", codes.FailedPrecondition), exitHeld, "1 moved on by a later update"},
		{"update rollback u1", fated("needs its name", codes.FailedPrecondition), exitRefused, "1 not rolled back (refused"},
		{"update rollback u1", fated("withdrawn", codes.OK), exitOK, ""},
		{"update cancel u1", fated("withdrawn", codes.OK), exitOK, ""},
		{"update cancel u1", fated("failed", codes.FailedPrecondition), exitRefused, "1 not withdrawn (refused"},
		{"update cancel", ok, exitUsage, "UPDATE is missing"},
		{"version", failing(errdefs.ErrNotImplemented), exitFailed, "older or newer"},

		{"nonsense", ok, exitUsage, "nonsense"},
		{"storage nonsense", ok, exitUsage, "moltctl storage --help"},
		{"--nonsense", ok, exitUsage, "nonsense"},
		{"storage ls --nonsense", ok, exitUsage, "nonsense"},
		{"storage ls more", ok, exitUsage, "more"},
		{"storage inspect", ok, exitUsage, "STORAGE is missing; see moltctl storage inspect --help"},
		{"storage fork web", ok, exitUsage, "NEW is missing"},
		{"storage rm", ok, exitUsage, "STORAGE is missing"},
		{"update create --from a", ok, exitUsage, "to"},
		{"update create --from a --to b more", ok, exitUsage, "more"},
		{"update inspect web", ok, exitUsage, "number"},
		{"update report", ok, exitUsage, "UPDATE"},
		{"update report u1 a b", ok, exitUsage, "PATH"},
		{"update report u1", ok, exitUsage, "0 storages"},
		{"update rollback", ok, exitUsage, "UPDATE is missing"},
		{"--format xml storage ls", ok, exitUsage, "xml"},
		{"--format dot storage ls", ok, exitUsage, "dot"},
		{"graph --format xml", ok, exitUsage, "xml"},
	} {
		t.Run(c.command+"/"+fmt.Sprint(c.code), func(t *testing.T) {
			_, errOut, code := c.daemon().ctl(t, strings.Fields(c.command)...)
			if code != c.code {
				t.Errorf("the exit code is %d, not %d: %s", code, c.code, errOut)
			}
			if !strings.Contains(errOut, c.says) || (c.says == "") != (errOut == "") {
				t.Errorf("the error output is %q and should say %q", errOut, c.says)
			}
		})
	}
}

func TestNoDaemon(t *testing.T) {
	var out, errOut bytes.Buffer
	socket := filepath.Join(t.TempDir(), "s")
	if code := run(t.Context(), []string{"moltctl", "--address", socket, "storage", "ls"}, &out, &errOut); code != exitNoDaemon {
		t.Errorf("the exit code is %d: %s", code, &errOut)
	}
	if !strings.Contains(errOut.String(), socket) {
		t.Errorf("the error does not name the socket: %s", &errOut)
	}
}

// TestErrorsAreHarmless: an error may hold names from inside a container.
func TestErrorsAreHarmless(t *testing.T) {
	d := &fakeDaemon{err: errors.New("open /x\x1b[2J\u202e\x07: no such file\nmore")}
	_, errOut, _ := d.ctl(t, "version")
	if want := "moltctl: open /x\\x1b[2J\\u202e\\a: no such file\nmoltctl: more\n"; errOut != want {
		t.Errorf("got %q, want %q", errOut, want)
	}
}

// TestRequests: what is given on the command line is what the daemon is asked for.
func TestRequests(t *testing.T) {
	t.Setenv("CONTAINERD_NAMESPACE", "k8s.io")
	for command, want := range map[string]proto.Message{
		"storage fork x h11/ff1":        &api.ForkStorageRequest{Source: "x", Target: "h11/ff1"},
		"storage fork x y":              &api.ForkStorageRequest{Source: "x", Target: "k8s.io/y"},
		"-n h1 storage fork k8s.io/x y": &api.ForkStorageRequest{Source: "k8s.io/x", Target: "h1/y"},
		"update create --from a --to b --storage x --storage y --anonymous --all-or-nothing --detach": &api.CreateUpdateRequest{
			Namespace: "k8s.io", From: "a", To: "b", Storages: []string{"x", "y"}, Anonymous: true, AllOrNothing: true,
		},
		"-n other update create --storage x --to b --dry-run": &api.CreateUpdateRequest{Namespace: "other", To: "b", Storages: []string{"x"}},
		"update rollback u7 --storage x --carry":              &api.RollbackUpdateRequest{Id: 7, Storages: []string{"x"}, Carry: true},
		"-n default update create --to b --dry-run --assume-free --all-or-nothing": &api.CreateUpdateRequest{
			Namespace: "default", To: "b", AssumeFree: true, AllOrNothing: true,
		},
		"update rollback --dry-run --assume-free --carry 7": &api.RollbackUpdateRequest{Id: 7, AssumeFree: true, Carry: true},
		"update rollback --dry-run 7":                       &api.RollbackUpdateRequest{Id: 7},
		"update report --storage x 7":                       &api.GetReportRequest{Id: 7, Storage: "x"},
		"storage ls --all":                                  &api.ListStoragesRequest{Anonymous: true, Namespace: "k8s.io", Measure: true, Details: true},
		"storage ls -A --no-size":                           &api.ListStoragesRequest{Details: true},
		"-n other storage ls":                               &api.ListStoragesRequest{Namespace: "other", Measure: true, Details: true},
		"storage rollback web --discard":                    &api.RollbackUpdateRequest{Id: 1, Storages: []string{"default/web"}, Discard: true},
		"storage rollback web --dry-run --carry":            &api.RollbackUpdateRequest{Id: 1, Storages: []string{"default/web"}, Carry: true},
		"update inspect 7 --watch":                          &api.GetUpdateRequest{Id: 7},
		"df":                                                &api.DiskUsageRequest{},
		"storage inspect x":                                 &api.GetStorageRequest{Name: "x"},
		"storage diff x":                                    &api.DiffStorageRequest{Name: "x"},
		"storage fork x team/y":                             &api.ForkStorageRequest{Source: "x", Target: "team/y"},
		"storage rm team/db/app":                            &api.RemoveStorageRequest{Name: "k8s.io/team/db/app"},
		"storage rm default/web":                            &api.RemoveStorageRequest{Name: "default/web"},
		"layer merge --dry-run":                             &api.MergeLayersRequest{DryRun: true},
	} {
		t.Run(command, func(t *testing.T) {
			d := &fakeDaemon{graph: graph(), update: &api.Update{}, report: []byte("{}")}
			_, errOut, code := d.ctl(t, strings.Fields(command)...)
			if code != exitOK || len(d.asked) == 0 {
				t.Fatalf("%d: %s", code, errOut)
			}
			asked := slices.DeleteFunc(d.asked, func(m proto.Message) bool {
				_, after := m.(*api.GetUpdateRequest)
				return after && !strings.HasPrefix(command, "update inspect")
			})
			if got := asked[len(asked)-1]; got.ProtoReflect().Descriptor() != want.ProtoReflect().Descriptor() || !proto.Equal(got, want) {
				t.Errorf("asked for %v, not %v", got, want)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1 << 20: "1 MiB", 5 << 40: "5 TiB", 5 << 50: "5 PiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, not %q", n, got, want)
		}
	}
}
