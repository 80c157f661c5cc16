// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// graph is what moltctl graph --format json shows, as far as it matters here.
type graph struct {
	Nodes []struct {
		ID, Parent, Base string
		Kind             string
		Added            bool
	}
	Names    []struct{ Key, Kind, Node string }
	Storages []struct {
		Name, Base, Head string
		Stack            []string
		Points, Aside    []struct{ Update string }
	}
}

func graphOf(t *testing.T, h *harness.Harness) graph {
	t.Helper()
	var g graph
	if err := json.Unmarshal([]byte(h.Moltctl("graph", "--format", "json")), &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// deltaLayers counts the layers that updates added.
func (g graph) deltaLayers() (count int) {
	for _, n := range g.Nodes {
		if n.Added {
			count++
		}
	}
	return count
}

func (g graph) depth(storage string) int {
	for _, s := range g.Storages {
		if strings.HasSuffix(s.Name, "/"+storage) {
			return len(s.Stack)
		}
	}
	return 0
}

// TestStack: updates stack up, one of them without side effects and so without a delta storage (A7, A8); then the delta
// layers that nobody stands on are merged as in Fig. 5, and no view changes (A9).
func TestStack(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient(), harness.WithDaemonConfig("[retention]\npoints = 0\n"))
	for v := 1; v <= 5; v++ {
		h.Import(app(t, v))
	}
	containers := map[string]*harness.Container{}
	for _, name := range []string{"low", "high"} {
		containers[name] = started(h, appName(1), name)
		shell(containers[name], customise+" && echo "+name+" >/name")
		containers[name].Kill()
	}
	// low ends on version 3, high on version 5, through 2, 3 and 4; to 4, nothing is changed that anybody touched.
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	h.Moltctl("update", "create", "--from", appName(2), "--to", appName(3))
	h.Moltctl("update", "create", "--storage", "high", "--to", appName(4))
	expectOutcome(t, h, "u3", "high", "applied -")
	h.Moltctl("update", "create", "--storage", "high", "--to", appName(5))
	views := map[string]listing{}
	for name, c := range containers {
		views[name] = listed(t, c)
	}
	before := graphOf(t, h)

	// containerd forgets all versions but the first: the keys of the containers hold that one.
	for v := 2; v <= 5; v++ {
		h.Ctr("images", "rm", "--sync", appName(v))
	}
	h.CollectGarbage()
	h.Moltctl("layer", "merge")
	after := graphOf(t, h)
	// 2+3 and 4+5 merge; 1 is the base, and 3 and 4 do not merge because low stands on 3.
	if b, a := before.deltaLayers(), after.deltaLayers(); b != 4 || a != 2 {
		t.Errorf("there were %d delta layers and are %d, not 4 and 2:\n%s", b, a, h.Moltctl("graph"))
	}
	for name, c := range containers {
		sameTree(t, "view of "+name+" after the merge", listed(t, c), views[name])
		c.Start()
	}
	expect(t, containers["low"], "app; cat /name; ls /usr/share/doc/app", "app 3\nlow\nnews\n")
	expect(t, containers["high"], "app; extra; cat /name; ls /usr/share/doc/app", "app 5\nextra 4\nhigh\nnews\n")
}

// TestHistoryStaysBounded: a storage that is updated again and again has a stack that does not grow, under the default
// retention, and all that was written in it stays.
func TestHistoryStaysBounded(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	version := func(n int) image.Image {
		return named(t, fmt.Sprintf("molt.test/long:%d", n),
			image.Files(image.File("etc/version", fmt.Sprintf("version = %d\n\nkeep = 1\n\nmine = 0\n", n))))
	}
	h.Import(version(0))
	c := started(h, "molt.test/long:0", "long")
	shell(c, "sed -i 's/mine = 0/mine = 1/' /etc/version")
	const updates = 12
	// The open node, a persisted storage and a delta storage for each of the three rollback points, what lies below them,
	// and what the background has not merged yet.
	const most = 12
	for n := 1; n <= updates; n++ {
		h.Import(version(n))
		shell(c, fmt.Sprintf("echo %d >/written-%d", n, n))
		h.Moltctl("update", "create", "--storage", "long", "--to", fmt.Sprintf("molt.test/long:%d", n))
		restart(c)
		expect(t, c, "cat /etc/version", fmt.Sprintf("version = %d\n\nkeep = 1\n\nmine = 1\n", n))
		for end := time.Now().Add(time.Minute); graphOf(t, h).depth("long") > most; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("after %d updates the stack has %d nodes", n, graphOf(t, h).depth("long"))
			}
		}
	}
	expect(t, c, "ls / | grep -c written-", fmt.Sprintln(updates))
}

// TestImagesGone: neither the old nor the new base needs its image any longer once a container stands on it.
func TestImagesGone(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	var containers []*harness.Container
	for i := range 3 {
		c := started(h, appName(1), fmt.Sprintf("c%d", i))
		shell(c, customise)
		c.Kill()
		containers = append(containers, c)
	}
	before := listed(t, containers[0])
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	h.Ctr("images", "rm", "--sync", appName(1), appName(2))
	h.CollectGarbage()
	h.RestartDaemon()
	h.RestartContainerd()
	for _, c := range containers {
		c.Start()
		expect(t, c, "app; cat /var/data/answer", "app 2\n42\n")
		c.Kill()
	}
	h.Moltctl("update", "rollback", "u1")
	sameTree(t, "rolled back without its image", listed(t, containers[0]), before)
	for _, c := range containers {
		c.Start()
		expect(t, c, "app; cat /var/data/answer", "app 1\n42\n")
		c.Kill()
		c.Delete()
	}
	h.CollectGarbage()
	h.Moltctl("storage", "rm", "c0", "c1", "c2")
	if g := graphOf(t, h); len(g.Nodes) > 0 {
		t.Errorf("nodes are left though nothing needs them:\n%s", h.Moltctl("graph", "--all"))
	}
}

// TestDaemonKilled: containers do not notice that the daemon dies, and everything goes on when it is there again.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	running, stopped := started(h, appName(1), "running"), started(h, appName(1), "stopped")
	shell(running, customise)
	shell(stopped, customise)
	stopped.Kill()
	h.KillDaemon()
	expect(t, running, "app; echo there >/while; cat /while", "app 1\nthere\n")
	h.StartDaemon()
	expect(t, running, "app; cat /while", "app 1\nthere\n")
	h.Moltctl("update", "create", "--from", appName(1), "--to", appName(2))
	expectOutcome(t, h, "u1", "stopped", "applied")
	expectOutcome(t, h, "u1", "running", "planned")
	h.KillDaemon()
	h.StartDaemon()
	restart(running)
	stopped.Start()
	for _, c := range []*harness.Container{running, stopped} {
		expect(t, c, "app; cat /var/data/answer", "app 2\n42\n")
	}
	expect(t, running, "cat /while", "there\n")
}

// TestLayers: images with one layer and with 120 work, in containers and through an update (E4).
func TestLayers(t *testing.T) {
	t.Parallel()
	h := harness.Start(t)
	deep, err := image.Deep("molt.test/deep:1", 120)
	if err != nil {
		t.Fatal(err)
	}
	h.Import(deep)
	h.Import(named(t, "molt.test/one:1"))
	c := started(h, "molt.test/one:1", "web")
	shell(c, "echo mine >/own")
	c.Kill()
	h.Moltctl("update", "create", "--storage", "web", "--to", "molt.test/deep:1")
	c.Start()
	expect(t, c, "cat /own /deep/top; ls /deep | wc -l", "mine\n119120\n")
	c.Kill()
	h.Moltctl("update", "rollback", "u1")
	c.Start()
	expect(t, c, "cat /own; ls /deep 2>&1 | grep -c No", "mine\n1\n")
}
