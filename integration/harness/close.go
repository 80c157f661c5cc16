// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"strings"
)

// ender removes what belongs to a harness.
type ender struct{ h *Harness }

// close removes everything and fails the test if that is not possible, or if the daemon shows a defect.
func (e ender) close() {
	if e.h.t.Failed() {
		e.dumpLogs()
	}
	if e.h.Daemon != nil {
		e.checkDaemonLog()
	}
	e.closeGracefully()
	if err := sweep(e.h.root); err != nil {
		e.h.t.Errorf("remove everything of the harness: %v", err)
	}
}

// closeGracefully ends pods, tasks and servers in the way that leaves the least behind. What it cannot end, after
// a crash that the test arranged for example, is left to sweep: its errors are no failure of the test.
func (e ender) closeGracefully() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.h.t.Context()), patience)
	defer cancel()
	var errs []error
	if e.h.Containerd != nil && e.h.Containerd.Running() {
		if e.h.cri != nil {
			errs = append(errs, e.h.cri.removePods(ctx))
		}
		if e.h.client != nil {
			errs = append(errs, e.killTasks(ctx))
		}
		errs = append(errs, e.h.Containerd.Stop())
	}
	if e.h.cri != nil {
		errs = append(errs, e.h.cri.conn.Close())
	}
	if e.h.client != nil {
		errs = append(errs, e.h.client.Close())
	}
	if e.h.Daemon != nil {
		errs = append(errs, e.h.Daemon.Stop())
	}
	if err := errors.Join(errs...); err != nil {
		e.h.t.Logf("end the harness: %v", err)
	}
}

// checkDaemonLog fails the test if the daemon reported a data race or panicked.
func (e ender) checkDaemonLog() {
	log := e.h.Daemon.Log()
	for _, sign := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
		if strings.Contains(log, sign) {
			e.h.t.Errorf("the daemon's log has %q:\n%s", strings.TrimSpace(sign), log)
			return
		}
	}
}

// dumpLogs shows the end of each log of a failed test.
func (e ender) dumpLogs() {
	const most = 16 << 10
	for _, p := range []*Process{e.h.Daemon, e.h.Containerd} {
		if p == nil {
			continue
		}
		log := p.Log()
		if len(log) > most {
			log = "..." + log[len(log)-most:]
		}
		e.h.t.Logf("log of %s:\n%s", p.name, log)
	}
}
