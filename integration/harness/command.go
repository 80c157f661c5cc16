// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Result is what a program or a container left.
type Result struct {
	ExitCode int
	Stdout   string
	Stderr   string
}

// Err is nil for exit code 0, else an error with all that was said.
func (r Result) Err() error {
	if r.ExitCode == 0 {
		return nil
	}
	return fmt.Errorf("exit code %d, stdout %q, stderr %q", r.ExitCode, r.Stdout, r.Stderr)
}

// Ctr runs the pinned ctr on this containerd and in this namespace, and returns its standard output.
func (h *Harness) Ctr(args ...string) string {
	h.t.Helper()
	return h.output("ctr", h.TryCtr(args...), args)
}

// TryCtr is Ctr for commands that may fail.
func (h *Harness) TryCtr(args ...string) Result {
	h.t.Helper()
	env := []string{"CONTAINERD_ADDRESS=" + h.ContainerdSocket(), "CONTAINERD_NAMESPACE=" + h.Namespace}
	return h.run(h.tools.tool("ctr"), env, args)
}

// Moltctl runs moltctl on the control socket of this daemon, and returns its standard output.
func (h *Harness) Moltctl(args ...string) string {
	h.t.Helper()
	return h.output("moltctl", h.TryMoltctl(args...), args)
}

// TryMoltctl is Moltctl for commands that may fail.
func (h *Harness) TryMoltctl(args ...string) Result {
	h.t.Helper()
	env := []string{"MOLT_CONTROL_ADDRESS=" + h.ControlSocket(), "CONTAINERD_NAMESPACE=" + h.Namespace}
	return h.run(h.moltctl, env, args)
}

func (h *Harness) output(program string, r Result, args []string) string {
	h.t.Helper()
	if err := r.Err(); err != nil {
		h.t.Fatalf("%s %s: %v", program, strings.Join(args, " "), err)
	}
	return r.Stdout
}

// run runs a program to its end. Its temporary files go below Root: ctr mounts there.
func (h *Harness) run(p program, env, args []string) Result {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := p.commandContext(h.t.Context(), args...)
	cmd.Env = h.tools.environment(append(env, "TMPDIR="+h.Path("tmp"))...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("run %s: %v", p.name, err)
	}
	return Result{ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}
