// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
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
