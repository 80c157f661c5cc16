// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

// Hold records that the storage must be held because of a path.
func (r *result) Hold(code report.HoldCode, path, message string) {
	r.HoldFor(report.Reason{Code: code, Path: path, Message: message})
}

// HoldFor records a reason why the storage must be held, once.
func (r *result) HoldFor(why report.Reason) {
	why = why.Complete()
	if !slices.Contains(r.holds, why) {
		r.holds = append(r.holds, why)
	}
}
