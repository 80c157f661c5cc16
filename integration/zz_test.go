package integration_test

import (
	"testing"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

func TestZZ(t *testing.T) {
	begin := time.Now()
	lap := func(what string) {
		t.Logf("%-30s %v", what, time.Since(begin).Round(time.Millisecond))
		begin = time.Now()
	}
	h := harness.Start(t)
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	lap("prep")
	to := appName(2)
	c := started(h, appName(1), "web")
	lap("started")
	shell(c, customise)
	lap("customise")
	c.Kill()
	lap("kill")
	listed(t, c)
	lap("listed")
	h.Moltctl("update", "create", "--storage", c.ID(), "--to", to)
	lap("create")
	c.Start()
	lap("start")
	expect(t, c, "app", "app 2\n")
	expect(t, c, "ls /usr/share/doc/app", "license\nnews\n")
	lap("2 exec")
	c.Kill()
	lap("kill")
	h.Moltctl("update", "rollback", "--storage", c.ID(), "u1")
	lap("rollback")
	listed(t, c)
	lap("listed")
	c.Start()
	c.Kill()
	lap("start kill")
	h.Moltctl("update", "create", "--storage", c.ID(), "--to", to)
	c.Start()
	shell(c, "echo later >/var/data/later; sed -i 's/log = info/log = debug/' /etc/app.conf")
	c.Kill()
	lap("create start shell kill")
	h.Moltctl("update", "rollback", "--carry", "--storage", c.ID(), "u"+lastUpdate(h))
	lap("carry")
	c.Delete()
	lap("delete")
	h.Moltctl("storage", "rm", c.ID())
	lap("rm")
}
