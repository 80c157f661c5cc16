// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	"golang.org/x/sys/unix"
)

// askerEnv has the test binary ask about a socket and print the answer.
const askerEnv = "MOLT_TEST_VISIBLE"

// TestVisible: from a pid namespace of its own, a process finds that it does not see the one behind containerd's
// socket.
func TestVisible(t *testing.T) {
	if address := os.Getenv(askerEnv); address != "" {
		visible, err := (&Host{address: address}).Visible(t.Context())
		fmt.Printf("visible %t, error %v\n", visible, err)
		os.Exit(0)
	}
	if os.Geteuid() != 0 {
		if os.Getenv("MOLT_TEST_STRICT") != "" {
			t.Fatal("a pid namespace needs root")
		}
		t.Skip("a pid namespace needs root")
	}
	address := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", address)
	must(t, err)
	t.Cleanup(func() { must(t, listener.Close()) })
	for flags, want := range map[uintptr]string{0: "visible true, error <nil>\n", unix.CLONE_NEWPID: "visible false, error <nil>\n"} {
		asker := exec.Command("/proc/self/exe", "-test.run=^TestVisible$")
		asker.Env = append(os.Environ(), askerEnv+"="+address)
		asker.SysProcAttr = &unix.SysProcAttr{Cloneflags: flags}
		out, err := asker.Output()
		must(t, err)
		if string(out) != want {
			t.Errorf("with clone flags %#x: %q", flags, out)
		}
	}
	if visible, err := (&Host{address: address + "-none"}).Visible(t.Context()); visible || err == nil {
		t.Errorf("without a socket: %t, %v", visible, err)
	}
}

// TestEventOfExec: the end of a process that was executed in a container says nothing of the container's own task.
func TestEventOfExec(t *testing.T) {
	for name, c := range map[string]struct {
		event any
		want  bool
	}{
		"the task's exit": {&eventsapi.TaskExit{ContainerID: "web", ID: "web"}, false},
		"an exec's exit":  {&eventsapi.TaskExit{ContainerID: "web", ID: "exec-1"}, true},
		"a deleted task":  {&eventsapi.TaskDelete{ContainerID: "web"}, false},
		"a deleted exec":  {&eventsapi.TaskDelete{ContainerID: "web", ID: "exec-1"}, true},
		"a created task":  {&eventsapi.TaskCreate{ContainerID: "web"}, false},
		"a started task":  {&eventsapi.TaskStart{ContainerID: "web"}, false},
	} {
		if got := ofExec(c.event); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
