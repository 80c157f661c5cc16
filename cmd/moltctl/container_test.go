// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func (d *fakeDaemon) RefreshContainer(
	r *api.RefreshContainerRequest, stream grpc.ServerStreamingServer[api.RefreshContainerResponse],
) error {
	answer := &api.RefreshContainerResponse{}
	if r.GetContainer() == "web" {
		answer.Changes = []*api.RefreshContainerResponse_Change{{Subject: "env", Name: "A", Action: "changed", Old: "1\x1b[2J", New: "2"}}
	}
	return d.send(r, func() error { return stream.Send(answer) })
}

func TestRefreshCommand(t *testing.T) {
	for _, c := range []struct {
		command string
		err     error
		asked   *api.RefreshContainerRequest
		code    int
		says    string
	}{
		{"-n n container refresh web --from a --to b --dry-run", nil, &api.RefreshContainerRequest{Namespace: "n", Container: "web", From: "a", To: "b", DryRun: true}, exitOK, `env   A     changed  1\x1b[2J`},
		{"container refresh --from a --to b same", nil, &api.RefreshContainerRequest{Namespace: "default", Container: "same", From: "a", To: "b"}, exitOK, "nothing to change"},
		{"container refresh --from a --to b web", fmt.Errorf("kubelet: %w", errdefs.ErrFailedPrecondition), &api.RefreshContainerRequest{Namespace: "default", Container: "web", From: "a", To: "b"}, exitRefused, "kubelet"},
		{"container refresh --from a --to b", nil, nil, exitUsage, "CONTAINER"},
		{"container refresh --from a web", nil, nil, exitUsage, "to"},
	} {
		t.Run(c.command, func(t *testing.T) {
			d := &fakeDaemon{err: c.err}
			out, errOut, code := d.ctl(t, strings.Fields(c.command)...)
			if code != c.code || !strings.Contains(out+errOut, c.says) {
				t.Errorf("it ends with %d and says %q, %q", code, out, errOut)
			}
			if c.asked == nil && len(d.asked) > 0 || c.asked != nil && (len(d.asked) != 1 || !proto.Equal(d.asked[0], c.asked)) {
				t.Errorf("asked for %v", d.asked)
			}
		})
	}
}
