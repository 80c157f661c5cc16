// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// hits counts how often the point of the environment was come to. Only a process that is made to die has this build.
var hits atomic.Int64

// Hit kills the process if the environment says so. It does not return then.
func (p Point) Hit() {
	if name := os.Getenv("MOLT_FAILPOINT_TRACE"); name != "" {
		trace(name, p)
	}
	point, nth, _ := strings.Cut(os.Getenv("MOLT_FAILPOINT"), ":")
	n, err := strconv.ParseInt(nth, 10, 64)
	if point != string(p) || err != nil || hits.Add(1) != n {
		return
	}
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // the signal is on its way
}

func trace(name string, p Point) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, p)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("trace failpoint %s: %v", p, err)) // of a test; there is nobody to return it to
	}
}
