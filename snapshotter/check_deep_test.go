// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// deep returns what a deep check finds, a line each.
func (f *fixture) deep() (lines []string) {
	f.t.Helper()
	found, err := f.Checks().Deep(f.t.Context())
	f.must(err)
	for _, p := range found {
		lines = append(lines, fmt.Sprintf("%t %s: %s", p.Grave, p.Subject, p.What))
	}
	return lines
}

// attested is a fixture with a storage that was updated; it returns the directory of the frozen node, of which
// everything is on record.
func newAttested(t *testing.T) (f *fixture, key, frozen string) {
	t.Helper()
	f = newFixture(t)
	one, two := f.bases()
	key = f.container("web", one, "web")
	f.in(key, func(dir string) {
		f.must(os.WriteFile(filepath.Join(dir, "etc/conf"), []byte("a = 2\n\nb = 1\n\nc = 1\n"), 0o644))
		f.must(os.WriteFile(filepath.Join(dir, "own"), []byte("mine"), 0o644))
	})
	f.update(one, two)
	id := f.storage("web").Points[0].Head
	f.eventually(func() (known bool) {
		f.State().Graph(func(g *dag.Graph) { n, _ := g.Node(id); known = n.Digest != "" && n.Contents != "" })
		return known
	}, "the files of the frozen node are summed up")
	f.deep() // which records the layers
	return f, key, filepath.Join(f.dir(id), "fs")
}

// TestCheckDeep: what is written into a frozen node behind molt's back is found, however it is done.
func TestCheckDeep(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *fixture, frozen string)
		says   []string
		not    []string
	}{
		"nothing": {change: func(*fixture, string) {}},
		"content with the time put back": {
			change: func(f *fixture, frozen string) {
				path := filepath.Join(frozen, "etc/conf")
				info, err := os.Stat(path)
				f.must(err)
				data, err := os.ReadFile(path)
				f.must(err)
				data[0] = 'z'
				file, err := os.OpenFile(path, os.O_WRONLY, 0)
				f.must(err)
				_, err = file.Write(data)
				f.must(err)
				f.must(file.Close())
				f.must(os.Chtimes(path, info.ModTime(), info.ModTime()))
			},
			says: []string{"true node n", `of storage "test/web"`, "was changed after it was frozen: /etc/conf;"},
			not:  []string{"/own"},
		},
		"permissions": {
			change: func(f *fixture, frozen string) { f.must(os.Chmod(filepath.Join(frozen, "own"), 0o600)) },
			says:   []string{"was changed after it was frozen: /own;"},
		},
		"a new file": {
			change: func(f *fixture, frozen string) { f.must(os.WriteFile(filepath.Join(frozen, "late"), nil, 0o600)) },
			says:   []string{"/late (new)"},
			not:    []string{"/own", "/etc"},
		},
		"a file gone": {
			change: func(f *fixture, frozen string) { f.must(os.Remove(filepath.Join(frozen, "own"))) },
			says:   []string{"/own (gone)"},
		},
		"an attribute": {
			change: func(f *fixture, frozen string) {
				f.must(unix.Setxattr(filepath.Join(frozen, "own"), "user.x", []byte("1"), 0))
			},
			says: []string{"frozen: /own;"},
		},
		"what overlayfs keeps for itself": {
			change: func(f *fixture, frozen string) {
				f.must(unix.Setxattr(frozen, "trusted.overlay.impure", []byte("y"), 0))
			},
		},
		"another name": {
			change: func(f *fixture, frozen string) {
				f.must(os.Link(filepath.Join(frozen, "own"), filepath.Join(f.root, "lost", "link")))
				f.must(os.Remove(filepath.Join(f.root, "lost", "link")))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, _, frozen := newAttested(t)
			if lines := f.deep(); len(lines) > 0 {
				t.Fatalf("before anything was changed: %q", lines)
			}
			c.change(f, frozen)
			for range 2 { // it does not take what it found for the record
				text := strings.Join(f.deep(), "\n")
				if (len(c.says) == 0) != (text == "") || !contains(text, c.says...) {
					t.Errorf("it says %q, not %q", text, c.says)
				}
				for _, n := range c.not {
					if strings.Contains(text, n) {
						t.Errorf("it says %q, with %q", text, n)
					}
				}
			}
		})
	}
}

// TestCheckDeepLayers: layers are on record from the first deep check on, which says so.
func TestCheckDeepLayers(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	if text := strings.Join(f.deep(), "\n"); !contains(text, "false frozen nodes: 2 from before", "recorded now") {
		t.Errorf("the first one says %q", text)
	}
	f.must(os.WriteFile(filepath.Join(f.dir(f.node(one)), "fs/version"), []byte("9"), 0o644))
	if text := strings.Join(f.deep(), "\n"); !contains(text, "true layer n", "/version") {
		t.Errorf("after a change it says %q", text)
	}
}

// TestCheckDeepWithoutManifest: a record that is lost is written again only if the node is what it was.
func TestCheckDeepWithoutManifest(t *testing.T) {
	for _, name := range []string{"manifest", "contents"} {
		for _, changed := range []bool{false, true} {
			f, _, frozen := newAttested(t)
			path := filepath.Join(filepath.Dir(frozen), name)
			f.must(os.WriteFile(path, []byte("damaged"), 0o600))
			if changed {
				f.must(os.WriteFile(filepath.Join(frozen, "own"), []byte("not mine"), 0o644))
			}
			text := strings.Join(f.deep(), "\n")
			if got := contains(text, "true node", "changed", "lost"); got != changed {
				t.Errorf("%s damaged, the node changed: %t: it says %q", name, changed, text)
			}
			data, err := os.ReadFile(path)
			f.must(err)
			if restored := string(data) != "damaged"; restored == changed {
				t.Errorf("%s restored: %t, the node changed: %t", name, restored, changed)
			}
		}
	}
}

// TestAttestedThroughout: what molt itself does to frozen nodes is no change of them: merging, forking, rolling back in
// each way, and a restart.
func TestAttestedThroughout(t *testing.T) {
	f, key, _ := newAttested(t)
	_, base := f.bases() // the same ones, unpacked again
	for i := range 6 {
		f.write(key, "own", strings.Repeat("x", i))
		next := f.layer(fmt.Sprintf("next%d", i), base, map[string]string{"version": fmt.Sprint(i)})
		f.update(base, next, "test/web")
		base = next
	}
	f.must(f.Storages().Fork(t.Context(), "test/web", "test/copy"))
	u := f.updates()
	f.write(key, "late", "x")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u[len(u)-1].ID, Carry: true}))
	f.write(key, "later", "x")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u[len(u)-2].ID}))
	f.reopen()
	f.eventually(func() (all bool) {
		all = true
		f.State().Graph(func(g *dag.Graph) {
			for _, n := range g.Nodes() {
				all = all && (!n.Frozen || n.Kind == dag.Layer || n.Contents != "")
			}
			all = all && len(g.Mergeable()) == 0
		})
		return all
	}, "everything is merged and summed up")
	for range 2 {
		for _, line := range f.deep() {
			if strings.Contains(line, "changed") {
				t.Error(line)
			}
		}
	}
}
