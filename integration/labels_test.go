// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// computed returns the labels of molt that ctr snapshots info shows of a key, by their last part.
func computed(t *testing.T, h *harness.Harness, key string) map[string]string {
	t.Helper()
	var info struct{ Labels map[string]string }
	out := h.Ctr("snapshots", "--snapshotter", h.Snapshotter, "info", key)
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for label, value := range info.Labels {
		if name, ours := strings.CutPrefix(label, "containerd.io/snapshot/molt."); ours {
			found[name] = value
		}
	}
	return found
}

func expectComputed(t *testing.T, h *harness.Harness, key string, want map[string]string) {
	t.Helper()
	if got := computed(t, h, key); !maps.Equal(got, want) {
		t.Errorf("ctr snapshots info %s shows %v, want %v", key, got, want)
	}
}

// TestLabels: containerd's clients see where a storage stands, filter by it, and cannot change it; a key that is made
// again by a refresh shows how it is then.
func TestLabels(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	tops := map[int]string{}
	for v := 1; v <= 2; v++ {
		img, err := h.Client().GetImage(h.Context(), appName(v))
		if err != nil {
			t.Fatal(err)
		}
		chain := h.ChainIDs(img)
		tops[v] = chain[len(chain)-1]
	}
	c := started(h, appName(1), "web")
	shell(c, customise)
	c.Kill()
	plain := h.Create(harness.ContainerSpec{ID: "plain", Image: appName(1)})
	plain.Start()
	plain.Kill()
	expectComputed(t, h, "plain", nil)
	nodes := computed(t, h, "web")["nodes"]
	expectComputed(t, h, "web", map[string]string{"storage": "web", "base": tops[1], "nodes": nodes})

	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	after := computed(t, h, "web")
	fields := strings.Fields(after["nodes"])
	if len(fields) != 3 || !strings.HasPrefix(fields[1], "Δ") || fields[2] != nodes {
		t.Errorf("the nodes are %q, and were %q", after["nodes"], nodes)
	}
	moved := map[string]string{"storage": "web", "base": tops[2], "asked-base": tops[1], "nodes": after["nodes"]}
	expectComputed(t, h, "web", moved)
	if kind := computed(t, h, tops[2]); kind["update"] != "u1" || kind["kind"] == "" {
		t.Errorf("the new base has %v", kind)
	}

	// Labels that a client sets, and a commit of another key, change nothing.
	h.Ctr("snapshots", "--snapshotter", h.Snapshotter, "label", "web", "mine=x")
	expectComputed(t, h, "web", moved)
	h.Ctr("snapshots", "--snapshotter", h.Snapshotter, "commit", "layer", "plain")
	expectComputed(t, h, "layer", nil)
	expectComputed(t, h, "web", moved)
	for filter, want := range map[string][]string{
		`labels."containerd.io/snapshot/molt.storage"==web`:                        {"web"},
		`kind==active,labels."containerd.io/snapshot/molt.asked-base"==` + tops[1]: {"web"},
		`labels."containerd.io/snapshot/molt.update"==u1`:                          {tops[2]},
		`labels."containerd.io/snapshot/molt.storage"==plain`:                      nil,
	} {
		var names []string
		service := h.Client().SnapshotService(h.Snapshotter)
		err := service.Walk(h.Context(), func(_ context.Context, i snapshots.Info) error {
			names = append(names, i.Name)
			return nil
		}, filter)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(names, want) {
			t.Errorf("filter %s finds %v, not %v", filter, names, want)
		}
	}

	h.Moltctl("--namespace", h.Namespace, "container", "refresh", "--from", appName(1), "--to", appName(2), "web")
	eventuallyOn(t, h, c, appName(2))
	delete(moved, "asked-base")
	expectComputed(t, h, "web", moved)
	c.Start()
	expect(t, c, "app; cat /var/data/answer", "app 2\n42\n")
	c.Kill()
}
