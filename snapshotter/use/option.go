// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

// Option changes how an operation on a storage decides whether it is in use.
type Option func(*bool)

// AssumeFree has the operator answer for the storage not being in use where nobody else can. A mount that is seen, and
// a task that runs, are not overridden.
func AssumeFree() Option { return func(assume *bool) { *assume = true } }

// Assumed returns what options say together.
func Assumed(opts []Option) (assume bool) {
	for _, opt := range opts {
		opt(&assume)
	}
	return assume
}
