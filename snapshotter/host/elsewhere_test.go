// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
)

// records is a containerd that has nothing but records of containers, by namespace.
type records struct {
	containersapi.UnimplementedContainersServer
	all   map[string][]*containersapi.Container
	fails error // ends each stream after its records
}

func (r *records) ListStream(_ *containersapi.ListContainersRequest, stream containersapi.Containers_ListStreamServer) error {
	namespace, err := namespaces.NamespaceRequired(stream.Context())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	for _, c := range r.all[namespace] {
		if err := stream.Send(&containersapi.ListContainerMessage{Container: c}); err != nil {
			return err
		}
	}
	return errgrpc.ToGRPC(r.fails)
}

// twoNamespaces are the namespaces of records.
type twoNamespaces struct {
	namespacesapi.UnimplementedNamespacesServer
}

func (twoNamespaces) List(context.Context, *namespacesapi.ListNamespacesRequest) (*namespacesapi.ListNamespacesResponse, error) {
	return &namespacesapi.ListNamespacesResponse{Namespaces: []*namespacesapi.Namespace{{Name: "default"}, {Name: "k8s.io"}}}, nil
}

// serve returns a host whose containerd has some records.
func serve(t *testing.T, r *records) *Host {
	t.Helper()
	address := filepath.Join(t.TempDir(), "containerd.sock")
	listener, err := net.Listen("unix", address)
	must(t, err)
	server := grpc.NewServer()
	containersapi.RegisterContainersServer(server, r)
	namespacesapi.RegisterNamespacesServer(server, twoNamespaces{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); must(t, <-served) })
	h, err := New(address, "molt")
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	return h
}

func cri(key, text string) map[string]*anypb.Any {
	return map[string]*anypb.Any{key: {Value: []byte(text)}}
}

// TestElsewhere: what has a key of molt's in its record and is of another snapshotter is found, in every namespace.
func TestElsewhere(t *testing.T) {
	asks := map[string]string{StorageKey: "web", HeldKey: "u1"}
	pod := `{"Version": "v1", "Metadata": {"Config": {"metadata": {"name": "p", "namespace": "shop"}, "annotations": {"molt.dev/storage": "db"}}}}`
	free := strings.ReplaceAll(pod, "molt.dev/storage", "molt.dev/x-mine")
	h := serve(t, &records{all: map[string][]*containersapi.Container{
		"default": {
			{ID: "ours", Snapshotter: "molt", Labels: asks},
			{ID: "asks", Snapshotter: "overlayfs", Labels: asks},
			{ID: "silent", Snapshotter: "overlayfs", Labels: map[string]string{"molt.dev/x-mine": "1", "molt.devs/storage": "2"}},
			{ID: "held", Snapshotter: "native", Image: "not known", Labels: map[string]string{HeldKey: "u1"}},
			{ID: "bare", Labels: asks},
		},
		"k8s.io": {
			{ID: "pause", Snapshotter: "overlayfs", Extensions: cri(extensionPause, pod)},
			{ID: "of the pod", Snapshotter: "overlayfs", Labels: asks, Extensions: cri(extensionContainer, "{}")},
			{ID: "silent", Snapshotter: "overlayfs", Labels: asks, Extensions: cri(extensionPause, free)},
			{ID: "later version", Snapshotter: "overlayfs", Extensions: cri(extensionPause, `{"Version": "v9"}`)},
			{ID: "ours", Snapshotter: "molt", Extensions: cri(extensionPause, pod)},
		},
	}})
	var found []snapshotter.Elsewhere
	must(t, h.Elsewhere(t.Context(), func(e snapshotter.Elsewhere) error { found = append(found, e); return nil }))
	if want := []snapshotter.Elsewhere{
		{Namespace: "default", Container: "asks", Snapshotter: "overlayfs", Ours: "molt", Label: StorageKey, Value: "web"},
		{Namespace: "default", Container: "held", Snapshotter: "native", Ours: "molt", Label: HeldKey, Value: "u1"},
		{Namespace: "default", Container: "bare", Ours: "molt", Label: StorageKey, Value: "web"},
		{Namespace: "k8s.io", Container: "pause", Pod: "shop/p", Snapshotter: "overlayfs", Ours: "molt", Label: StorageKey, Value: "db"},
	}; !slices.Equal(found, want) {
		t.Errorf("found\n%+v\nwant\n%+v", found, want)
	}
}

// TestElsewhereEnds: a failure of either side ends the list and is returned, and what came before it was given.
func TestElsewhereEnds(t *testing.T) {
	all := map[string][]*containersapi.Container{}
	for n := range 3000 { // many more than a stream keeps on its way
		all["default"] = append(all["default"], &containersapi.Container{
			ID: fmt.Sprint(n), Snapshotter: "overlayfs", Labels: map[string]string{StorageKey: "web"},
		})
	}
	r := &records{all: all}
	h := serve(t, r)
	full, count := errors.New("full"), 0
	err := h.Elsewhere(t.Context(), func(snapshotter.Elsewhere) error {
		if count++; count == 3 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || count != 3 {
		t.Errorf("after %d it ended with %v", count, err)
	}
	r.fails, count = errdefs.ErrUnavailable, 0
	err = h.Elsewhere(t.Context(), func(snapshotter.Elsewhere) error { count++; return nil })
	if !errdefs.IsUnavailable(err) || count != 3000 {
		t.Errorf("after %d it ended with %v", count, err)
	}
}
