// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"testing"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// TestReportAllGolden: the reports of all storages of an update are shown as one, each thing once with the storages that it is
// about, what keeps storages from being updated first.
func TestReportAllGolden(t *testing.T) {
	golden(t, "reportall.golden", func() *fakeDaemon {
		u := &api.Update{Id: 1, From: 3, To: 4, State: api.State_STATE_APPLIED}
		reports := map[string][]byte{}
		for n := range 6 {
			name := fmt.Sprintf("default/s%d", n)
			u.Outcomes = append(u.Outcomes, &api.Outcome{Storage: name, State: api.State_STATE_APPLIED, Report: n < 5})
			paths := `{"path": "etc/motd", "verdict": "keep", "reason": "the user changed it"}`
			if n > 0 {
				paths += `, {"path": "etc/app.conf", "verdict": "beside", "reason": "both changed line 1"}`
			}
			if n == 2 {
				paths += `, {"path": "etc/\\ufffd", "path_bytes": "ZXRjL/8=", "verdict": "merge", "reason": "both changed it"}`
			}
			holds := ""
			if n == 4 {
				holds = `{"message": "package a needs b"}`
			}
			reports[name] = []byte(`{"counts": {}, "holds": [` + holds + `], "waiting": [` + tiedWaiting + `], "findings": [
				{"check": "programs", "path": "usr/bin/x", "message": "needs libx.so.1", "severity": "warn"}], "paths": [` + paths + `]}`)
		}
		return &fakeDaemon{graph: graph(), update: u, reports: reports}
	}, "update report u1", "--format json update report u1", "update report u1 /etc/motd", "update report --storage default/s2 u1")
}
