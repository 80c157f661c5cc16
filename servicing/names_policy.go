// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
)

// The names of package policy, for those who use the engine.
type (
	// Options is [policy.Options].
	Options = policy.Options

	// Policy is [policy.Policy].
	Policy = policy.Policy

	// Concern is [policy.Concern].
	Concern = policy.Concern

	// Action is [policy.Action].
	Action = policy.Action

	// ConcernInfo is [policy.ConcernInfo].
	ConcernInfo = policy.ConcernInfo

	// Pin is [policy.Pin].
	Pin = policy.Pin
)

// The actions and the concerns.
const (
	ActionKeepSource       = policy.ActionKeepSource
	ActionKeep             = policy.ActionKeep
	ActionTake             = policy.ActionTake
	ActionBeside           = policy.ActionBeside
	ActionHold             = policy.ActionHold
	ActionWarn             = policy.ActionWarn
	ActionIgnore           = policy.ActionIgnore
	ConcernText            = policy.ConcernText
	ConcernBinary          = policy.ConcernBinary
	ConcernPackageFile     = policy.ConcernPackageFile
	ConcernData            = policy.ConcernData
	ConcernMetadata        = policy.ConcernMetadata
	ConcernDeletedByBase   = policy.ConcernDeletedByBase
	ConcernDeletedByUser   = policy.ConcernDeletedByUser
	ConcernTypeByUser      = policy.ConcernTypeByUser
	ConcernTypeByBase      = policy.ConcernTypeByBase
	ConcernIdentity        = policy.ConcernIdentity
	ConcernDependency      = policy.ConcernDependency
	ConcernPackagedProgram = policy.ConcernPackagedProgram
	ConcernOwnProgram      = policy.ConcernOwnProgram
	ConcernReplacedLibrary = policy.ConcernReplacedLibrary
	ConcernScript          = policy.ConcernScript
	ConcernModules         = policy.ConcernModules
	ConcernServerData      = policy.ConcernServerData
	ConcernLink            = policy.ConcernLink
	ConcernAccount         = policy.ConcernAccount
	ConcernPackageFiles    = policy.ConcernPackageFiles
)

// ErrOptions is wrapped by the error about options that mean nothing.
var ErrOptions = policy.ErrOptions

// Concerns returns all concerns, with their defaults and what is allowed.
func Concerns() []ConcernInfo { return policy.Concerns() }
