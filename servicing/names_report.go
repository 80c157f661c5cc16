// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

// What is found out and decided, as data, see package report.
type (
	Report        = report.Report
	PathReport    = report.PathReport
	Content       = report.Content
	Fix           = report.Fix
	EffectReport  = report.EffectReport
	PackageReport = report.PackageReport
	IDRemap       = report.IDRemap
	Verdict       = report.Verdict
	HoldCode      = report.HoldCode
	HoldInfo      = report.HoldInfo
	Reason        = report.Reason
	Unread        = report.Unread
	Waiting       = report.Waiting
	Withheld      = report.Withheld
	PinReport     = report.PinReport
	CheckFinding  = report.CheckFinding
	AuditReport   = report.AuditReport
	AuditPackage  = report.AuditPackage
	AuditPath     = report.AuditPath
	Explanation   = report.Explanation
	Sight         = report.Sight
	PathDiff      = report.PathDiff
	PathSide      = report.PathSide
	TextDiff      = report.TextDiff
)

// The verdicts, and the codes of reasons to hold a storage.
const (
	ReportVersion       = report.Version
	Take                = report.Take
	Keep                = report.Keep
	Merge               = report.Merge
	Beside              = report.Beside
	Regenerate          = report.Regenerate
	Relocate            = report.Relocate
	Remap               = report.Remap
	Drop                = report.Drop
	Hold                = report.Hold
	HoldCheck           = report.HoldCheck
	HoldConflict        = report.HoldConflict
	HoldDependency      = report.HoldDependency
	HoldInterrupted     = report.HoldInterrupted
	HoldPackageDatabase = report.HoldPackageDatabase
	HoldDistribution    = report.HoldDistribution
	HoldArchitecture    = report.HoldArchitecture
	HoldLibrary         = report.HoldLibrary
	HoldPin             = report.HoldPin
	HoldAccounts        = report.HoldAccounts
	HoldAttributes      = report.HoldAttributes
	HoldOverlay         = report.HoldOverlay
)

// HoldCodes returns all sorts of reasons why a storage is held.
func HoldCodes() []HoldInfo { return report.HoldCodes() }

// RefusedReport returns the report of a storage that must be held because of an error, see [report.Refused].
func RefusedReport(err error) (*Report, bool) { return report.Refused(err) }

// NewPathDiff returns what is said of a path when its sides cannot be looked at.
func NewPathDiff(name, why string) *PathDiff { return report.NewPathDiff(name, why) }
