// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"fmt"
	"os"
	"os/exec"
	"time"
)

// after kills the victim some time after its start.
type after time.Duration

func (a after) String() string          { return "after " + time.Duration(a).String() }
func (a after) prepare(*exec.Cmd) error { return nil }

func (a after) strike(l *life) error {
	select {
	case <-l.over:
	case <-time.After(time.Duration(a)):
		_ = l.cmd.Process.Kill() // it may be dead already
	}
	return nil
}

// point has the victim kill itself when it comes to a failpoint for the nth time.
type point struct {
	name string
	nth  int
}

func (p point) String() string { return fmt.Sprintf("point %s %d", p.name, p.nth) }

func (p point) prepare(cmd *exec.Cmd) error {
	cmd.Env = append(cmd.Env, fmt.Sprintf("MOLT_FAILPOINT=%s:%d", p.name, p.nth))
	return nil
}

func (p point) strike(*life) error { return nil }

// traced is a life in which the failpoints that the victim comes to are written to a file.
type traced struct {
	old
	file string
}

func (t traced) prepare(cmd *exec.Cmd) error {
	cmd.Env = append(cmd.Env, "MOLT_FAILPOINT_TRACE="+t.file)
	return os.WriteFile(t.file, nil, 0o600)
}
