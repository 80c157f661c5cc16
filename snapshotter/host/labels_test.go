// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"maps"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// TestUnknownLabels: a key of molt's that molt does not know is refused with the near name, unless it is free, comes from the
// image, or is to be let through.
func TestUnknownLabels(t *testing.T) {
	for name, c := range map[string]struct {
		labels, image map[string]string
		policy        UnknownLabels
		err           error
		says          string
		storage       string
	}{
		"a slip":                  {labels: map[string]string{"molt.dev/storag": "web"}, err: errdefs.ErrInvalidArgument, says: "did you mean molt.dev/storage?"},
		"in other letters":        {labels: map[string]string{"molt.dev/Storage": "web"}, err: errdefs.ErrInvalidArgument, says: "did you mean molt.dev/storage?"},
		"something else":          {labels: map[string]string{"molt.dev/something": "1"}, err: errdefs.ErrInvalidArgument, says: "the known key is molt.dev/storage"},
		"beside a known one":      {labels: map[string]string{StorageKey: "web", "molt.dev/polcy": "1"}, err: errdefs.ErrInvalidArgument, says: "molt.dev/polcy"},
		"free":                    {labels: map[string]string{StorageKey: "web", "molt.dev/x-mine": "1"}, storage: "default/web"},
		"written by molt":         {labels: map[string]string{StorageKey: "web", HeldKey: "u1"}, storage: "default/web"},
		"of somebody else":        {labels: map[string]string{StorageKey: "web", "molt.devs/storag": "1"}, storage: "default/web"},
		"from the image":          {labels: map[string]string{"molt.dev/storag": "web"}, image: map[string]string{"molt.dev/storag": "web"}},
		"let through by a policy": {labels: map[string]string{StorageKey: "web", "molt.dev/later": "1"}, policy: WarnUnknown, storage: "default/web"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "default")
			w.unknown = c.policy
			w.image("app", c.image)
			w.container(containers.Container{ID: "c", Image: "app", Labels: c.labels})
			w.expectClaim("default", c.storage, c.err, c.says)
		})
	}
}

// TestOnRecord: what is kept of a container.
func TestOnRecord(t *testing.T) {
	w := newWorld(t, "default")
	w.image("app", nil)
	w.container(containers.Container{ID: "c", Image: "app", Labels: map[string]string{StorageKey: "web"}})
	claim, err := w.Claim(t.Context(), "default", "c")
	must(t, err)
	if r := claim.Container; r.ID != "c" || r.Image != "app" || r.Runtime != "runtime" || r.Labels[StorageKey] != "container" {
		t.Errorf("on record is %+v", r)
	}
}

// oneNamespace is the store of namespaces of a containerd that has one.
type oneNamespace struct {
	namespaces.Store
	name string
}

func (n oneNamespace) List(context.Context) ([]string, error) { return []string{n.name}, nil }

// TestMarkHeld: the label of a held update is written into the record of a container, is found, and is taken away again, alone.
func TestMarkHeld(t *testing.T) {
	w := newWorld(t, "default")
	c, err := client.New("", client.WithServices(
		client.WithContainerStore(w.client.ContainerService()), client.WithNamespaceService(oneNamespace{name: "default"}),
	))
	must(t, err)
	w.client = c
	w.container(containers.Container{ID: "c", Labels: map[string]string{StorageKey: "web"}})
	w.container(containers.Container{ID: "other", Snapshotter: "overlayfs", Labels: map[string]string{HeldKey: "u9"}})
	expect := func(update string) {
		t.Helper()
		found, err := w.Held(t.Context())
		must(t, err)
		want := map[keys.Key]string{}
		if update != "" {
			want[keys.Key{Namespace: "default", Key: "c"}] = update
		}
		if !maps.Equal(found, want) {
			t.Errorf("found %v, not %v", found, want)
		}
		c, err := w.client.ContainerService().Get(w.ctx, "c")
		must(t, err)
		labels := map[string]string{StorageKey: "web"}
		if update != "" {
			labels[HeldKey] = update
		}
		if !maps.Equal(c.Labels, labels) {
			t.Errorf("the labels are %v", c.Labels)
		}
	}
	expect("")
	must(t, w.MarkHeld(t.Context(), "default", "c", "u1"))
	expect("u1")
	must(t, w.MarkHeld(t.Context(), "default", "c", "u2"))
	expect("u2")
	must(t, w.MarkHeld(t.Context(), "default", "c", ""))
	expect("")
	must(t, w.MarkHeld(t.Context(), "default", "c", "")) // which is not there
	expect("")
	if err := w.MarkHeld(t.Context(), "default", "none", ""); !errdefs.IsNotFound(err) {
		t.Errorf("a container that is gone: %v", err)
	}
}
