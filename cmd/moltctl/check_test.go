// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func (d *fakeDaemon) Check(r *api.CheckRequest, stream grpc.ServerStreamingServer[api.CheckResponse]) error {
	return d.send(r, func() error {
		return errors.Join(stream.Send(&api.CheckResponse{Problems: d.problems}), stream.Send(&api.CheckResponse{Failures: d.failures}))
	})
}

func (d *fakeDaemon) Backup(r *api.BackupRequest, stream grpc.ServerStreamingServer[api.BackupResponse]) error {
	for _, data := range []string{"first, ", "second"} {
		if err := stream.Send(&api.BackupResponse{Data: []byte(data)}); err != nil {
			return err
		}
	}
	return d.note(r)
}

func TestCheckCommands(t *testing.T) {
	grave := &api.Problem{Subject: "node n3", What: "its directory is missing", Grave: true}
	done := &api.Problem{Subject: "node n4", What: "its work directory is missing", Grave: true, Remedy: "it is made anew", Repaired: true}
	note := &api.Problem{Subject: "lost/7", What: "look at it"}
	for _, c := range []struct {
		command  string
		problems []*api.Problem
		failures []string
		repair   bool
		code     int
		says     string
	}{
		{"check", nil, nil, false, exitOK, "all is well"},
		{"check", []*api.Problem{note}, nil, false, exitOK, "look at it"},
		{"check", []*api.Problem{note, grave}, nil, false, exitFailed, "GRAVE  node n3"},
		{"check --deep", []*api.Problem{grave}, nil, false, exitFailed, "GRAVE  node n3"},
		{"repair --dry-run", []*api.Problem{grave}, nil, false, exitFailed, "node n3"},
		{"repair", []*api.Problem{done}, nil, true, exitOK, "done  node n4"},
		{"repair", []*api.Problem{done}, []string{"no space left on device"}, true, exitFailed, "node n4"},
	} {
		t.Run(c.command, func(t *testing.T) {
			d := &fakeDaemon{problems: c.problems, failures: c.failures}
			out, errOut, code := d.ctl(t, strings.Fields(c.command)...)
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("it ends with %d and says %q, %q", code, out, errOut)
			}
			if asked, ok := d.asked[0].(*api.CheckRequest); !ok || asked.GetRepair() != c.repair || asked.GetDeep() != strings.Contains(c.command, "--deep") {
				t.Errorf("asked for %v", d.asked[0])
			}
		})
	}
}

// TestBackupCommand: a backup is written as a whole, never over something, and not at all when it fails.
func TestBackupCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "graph.db")
	if _, errOut, code := (&fakeDaemon{err: errors.New("cut off")}).ctl(t, "backup", path); code != exitFailed || !strings.Contains(errOut, "cut off") {
		t.Errorf("it ends with %d: %s", code, errOut)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) > 0 {
		t.Errorf("left over are %v, %v", left, err)
	}
	if _, errOut, code := (&fakeDaemon{}).ctl(t, "backup", path); code != exitOK {
		t.Fatalf("it ends with %d: %s", code, errOut)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "first, second" {
		t.Errorf("the backup is %q, %v", content, err)
	}
	if _, errOut, code := (&fakeDaemon{}).ctl(t, "backup", path); code != exitUsage || !strings.Contains(errOut, "exists") {
		t.Errorf("it ends with %d: %s", code, errOut)
	}
}
