// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

// hold records that the storage must be held because of a path.
func (p *planner) hold(code report.HoldCode, path, message string) {
	p.holdFor(report.Reason{Code: code, Path: path, Message: message})
}

// holdFor records a reason why the storage must be held, once.
func (p *planner) holdFor(r report.Reason) {
	r = r.Complete()
	if !slices.Contains(p.holds, r) {
		p.holds = append(p.holds, r)
	}
}
