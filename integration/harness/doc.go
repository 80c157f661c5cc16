// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package harness gives a test a containerd of its own, with molt's daemon as its proxy snapshotter, and the
// means to fill it: images made on the spot, containers through the Go client, ctr and CRI, and processes that
// are killed and started again.
//
//	h := harness.Start(t)
//	h.Import(app)
//	c := h.Create(harness.ContainerSpec{ID: "web", Image: app.Name})
//	c.Start()
//	c.Exec("sh", "-c", "echo hello >/data")
//
// Everything is below one directory, /tmp/molt-XXXX, whose paths are short enough for unix sockets. When the
// test ends, whatever its outcome, nothing is left: no process, mount, cgroup or file. A test process that is
// killed leaves its containers behind; the next Start on the machine removes them. Tests run in parallel, in one
// process or in several, because each has its own containerd namespace and directory.
//
// Methods end the test when something fails that the test did not ask about; those whose name starts with Try
// return the error instead. Only the goroutine of the test may call methods of the first sort.
package harness
