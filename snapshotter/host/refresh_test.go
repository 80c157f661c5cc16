// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"
)

const processSpec = `{"process":{"cwd":"/","args":["sh"],"user":{"uid":0,"gid":0}},"later":1}`

// recorded makes the container "c" with a specification.
func (w *world) recorded(c containers.Container, spec string) {
	w.t.Helper()
	c.ID, c.SnapshotKey, c.Runtime.Name = "c", "c", "runtime"
	if c.Snapshotter == "" {
		c.Snapshotter = "molt"
	}
	c.Spec = &anypb.Any{TypeUrl: "spec", Value: []byte(spec)}
	_, err := metadata.NewContainerStore(w.db).Create(w.ctx, c)
	must(w.t, err)
}

func (w *world) record() containers.Container {
	w.t.Helper()
	c, err := metadata.NewContainerStore(w.db).Get(w.ctx, "c")
	must(w.t, err)
	return c
}

func TestRefresh(t *testing.T) {
	w := newWorld(t, "default")
	w.image("docker.io/library/app:1", map[string]string{"v": "1", "gone": "1", "own": "1"})
	w.image("docker.io/library/app:2", map[string]string{"v": "2", "own": "2", "new.of/2": "2"})
	w.recorded(containers.Container{Image: "docker.io/library/app:1", Labels: map[string]string{"v": "1", "gone": "1", "own": "mine", "mine": "1"}}, processSpec)
	before := w.record()
	planned, err := w.refreshed(w.ctx, "default", "c", "app:1", "app:2")
	must(t, err)
	if after := w.record(); !after.UpdatedAt.Equal(before.UpdatedAt) || !maps.Equal(after.Labels, before.Labels) {
		t.Errorf("a dry run leaves %+v", after)
	}
	to, err := planned.home()
	must(t, err)
	for range 2 { // a crash may have it written twice
		must(t, w.writeRecord(w.ctx, "c", to))
	}
	if len(planned.changes) != 5 {
		t.Errorf("planned %+v", planned.changes)
	}
	after := w.record()
	if want := map[string]string{"v": "2", "own": "mine", "mine": "1", "new.of/2": "2"}; !maps.Equal(after.Labels, want) || after.Image != "docker.io/library/app:2" {
		t.Errorf("got labels %v, image %s", after.Labels, after.Image)
	}
	if spec := string(after.Spec.GetValue()); after.Spec.GetTypeUrl() != "spec" || !strings.Contains(spec, `"later":1`) || !strings.Contains(spec, `"args":["sh"]`) {
		t.Errorf("got specification %s of type %s", spec, after.Spec.GetTypeUrl())
	}
}

func TestRefreshRefused(t *testing.T) {
	for name, c := range map[string]struct {
		container    containers.Container
		spec         string
		namespace    string
		id, from, to string
		kind         error
		says         string
	}{
		"of a pod":             {container: containers.Container{Extensions: extension(extensionContainer, "{}")}, kind: errdefs.ErrFailedPrecondition, says: "kubelet"},
		"a sandbox":            {container: containers.Container{Extensions: extension(extensionPause, "{}")}, kind: errdefs.ErrFailedPrecondition, says: "kubelet"},
		"labelled as of a pod": {container: containers.Container{Labels: map[string]string{kindLabel: "container"}}, kind: errdefs.ErrFailedPrecondition, says: "kubelet"},
		"namespace of pods":    {namespace: "k8s.io", kind: errdefs.ErrFailedPrecondition, says: "kubelet"},
		"another snapshotter":  {container: containers.Container{Snapshotter: "overlayfs"}, kind: errdefs.ErrFailedPrecondition, says: "overlayfs"},
		"not a specification":  {spec: "{}", kind: errdefs.ErrFailedPrecondition, says: "process"},
		"a claim of the image": {container: containers.Container{Labels: map[string]string{StorageKey: "web"}}, to: "claims", kind: errdefs.ErrFailedPrecondition, says: "lose its storage"},
		"no container":         {id: "other", kind: errdefs.ErrNotFound, says: "other"},
		"no old image":         {from: "none", kind: errdefs.ErrNotFound, says: "none"},
		"no new image":         {to: "none", kind: errdefs.ErrNotFound, says: "none"},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := or(c.namespace, "default")
			w := newWorld(t, namespace)
			w.image("one", nil)
			w.image("two", nil)
			w.image("claims", map[string]string{StorageKey: "web"})
			w.recorded(c.container, or(c.spec, processSpec))
			before := w.record()
			changes, _, err := w.Refresh(t.Context(), namespace, or(c.id, "c"), or(c.from, "one"), or(c.to, "two"))
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, %v; want %v that says %q", changes, err, c.kind, c.says)
			}
			if after := w.record(); !after.UpdatedAt.Equal(before.UpdatedAt) {
				t.Errorf("the record was written: %+v", after)
			}
		})
	}
}
