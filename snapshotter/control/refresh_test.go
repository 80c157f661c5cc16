// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/control"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/runconfig"
)

// records are those of one container, "c", and remember what was asked for.
type records struct{ asked string }

func (r *records) Refresh(_ context.Context, namespace, container, from, to string) ([]runconfig.Change, *binding.Home, error) {
	if container != "c" {
		return nil, nil, fmt.Errorf("container %q: %w", container, errdefs.ErrNotFound)
	}
	r.asked = fmt.Sprint(namespace, " ", from, " ", to)
	return []runconfig.Change{{Subject: "env", Name: "A", Action: runconfig.Changed, Old: "1", New: "2", Why: "x"}}, nil, nil
}

func TestRefreshContainer(t *testing.T) {
	known := &records{}
	with := serve(t, func(server *grpc.Server) { control.Register(server, nil, "v1", "/root", control.WithContainers(known)) })
	without := serve(t, func(server *grpc.Server) { control.Register(server, nil, "v1", "/root") })
	for name, c := range map[string]struct {
		service api.ControlClient
		req     *api.RefreshContainerRequest
		code    codes.Code
	}{
		"done":          {with, &api.RefreshContainerRequest{Namespace: "n", Container: "c", From: "a", To: "b", DryRun: true}, codes.OK},
		"not there":     {with, &api.RefreshContainerRequest{Namespace: "n", Container: "d", From: "a", To: "b"}, codes.NotFound},
		"no images":     {with, &api.RefreshContainerRequest{Namespace: "n", Container: "c"}, codes.InvalidArgument},
		"no containerd": {without, &api.RefreshContainerRequest{Namespace: "n", Container: "c", From: "a", To: "b"}, codes.FailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := api.Whole(c.service.RefreshContainer(t.Context(), c.req))
			if status.Code(err) != c.code {
				t.Fatalf("got %v, want %v", err, c.code)
			}
			if c.code != codes.OK {
				return
			}
			if len(r.GetChanges()) != 1 || known.asked != "n a b" {
				t.Fatalf("asked for %q, got %v", known.asked, r)
			}
			if g := r.GetChanges()[0]; g.GetSubject()+g.GetName()+g.GetAction()+g.GetOld()+g.GetNew()+g.GetWhy() != "envAchanged12x" {
				t.Errorf("got %v", g)
			}
		})
	}
}
