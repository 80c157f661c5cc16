// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

// The names of package report, for those who use the engine.
type (
	// Report is [report.Report].
	Report = report.Report

	// PathReport is [report.PathReport].
	PathReport = report.PathReport

	// Content is [report.Content].
	Content = report.Content

	// Fix is [report.Fix].
	Fix = report.Fix

	// EffectReport is [report.EffectReport].
	EffectReport = report.EffectReport

	// PackageReport is [report.PackageReport].
	PackageReport = report.PackageReport

	// IDRemap is [report.IDRemap].
	IDRemap = report.IDRemap

	// Verdict is [report.Verdict].
	Verdict = report.Verdict

	// HoldCode is [report.HoldCode].
	HoldCode = report.HoldCode

	// HoldInfo is [report.HoldInfo].
	HoldInfo = report.HoldInfo

	// Reason is [report.Reason].
	Reason = report.Reason

	// Unread is [report.Unread].
	Unread = report.Unread

	// Waiting is [report.Waiting].
	Waiting = report.Waiting

	// Withheld is [report.Withheld].
	Withheld = report.Withheld

	// PinReport is [report.PinReport].
	PinReport = report.PinReport

	// CheckFinding is [report.CheckFinding].
	CheckFinding = report.CheckFinding

	// AuditReport is [report.AuditReport].
	AuditReport = report.AuditReport

	// AuditPackage is [report.AuditPackage].
	AuditPackage = report.AuditPackage

	// AuditPath is [report.AuditPath].
	AuditPath = report.AuditPath

	// Explanation is [report.Explanation].
	Explanation = report.Explanation

	// Sight is [report.Sight].
	Sight = report.Sight

	// BesideVersion is [report.BesideVersion].
	BesideVersion = report.BesideVersion

	// PathDiff is [report.PathDiff].
	PathDiff = report.PathDiff

	// PathSide is [report.PathSide].
	PathSide = report.PathSide

	// TextDiff is [report.TextDiff].
	TextDiff = report.TextDiff
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
