// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
)

// shortfall counts the storages that a command did not reach, or would not; the output has told of each.
type shortfall struct {
	of     int // storages that the command was about
	causes []cause
	so     string // what follows for all of them
}

// cause is why storages were not reached, with the exit code that it gives.
type cause struct {
	exit  int
	what  string
	count int
}

// worst lists exit codes, the one first that others give way to.
var worst = [...]int{exitFailed, exitRefused, exitNotFound, exitHeld}

// add counts a storage.
func (s *shortfall) add(exit int, what string) {
	at := slices.IndexFunc(s.causes, func(c cause) bool { return c.exit == exit && c.what == what })
	if at < 0 {
		at, s.causes = len(s.causes), append(s.causes, cause{exit: exit, what: what})
	}
	s.causes[at].count++
}

// addCode counts a storage by the gRPC status code that the daemon gave.
func (s *shortfall) addCode(code uint32, what string) {
	switch codes.Code(code) {
	case codes.NotFound:
		s.add(exitNotFound, what+" (not found)")
	case codes.FailedPrecondition:
		s.add(exitRefused, what+" (refused as things stand)")
	default:
		s.add(exitFailed, what+" (failed)")
	}
}

// err returns the shortfall as an error, nil if every storage was reached.
func (s shortfall) err() error {
	if len(s.causes) == 0 {
		return nil
	}
	return s
}

// code returns the exit code: that of the worst cause.
func (s shortfall) code() int { return s.sorted()[0].exit }

func (s shortfall) sorted() []cause {
	return slices.SortedStableFunc(slices.Values(s.causes), func(a, b cause) int {
		return cmp.Compare(slices.Index(worst[:], a.exit), slices.Index(worst[:], b.exit))
	})
}

// Error implements error.
func (s shortfall) Error() string {
	var parts []string
	for _, c := range s.sorted() {
		parts = append(parts, fmt.Sprintf("%d %s", c.count, c.what))
	}
	return fmt.Sprintf("of %s: %s%s", storagesCount(s.of), strings.Join(parts, "; "), s.so)
}
